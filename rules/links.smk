# reads   the source: the sample's numbers, the names in a folder, or the rows of the IMDb-Face list
# writes  results/links.parquet: identity, image, url, rect, height, width, shard; one row per picture
#         results/links_rejected.csv: the rows of the list that cannot be used, with their line and the reason

if SOURCE["kind"] == "imdb_face":
    LIST = {"list": SOURCE["path"]}
    REJECTED = {"rejected": results("links_rejected.csv")}
else:
    LIST, REJECTED = {}, {}


rule list_links:
    input:
        **LIST,
    output:
        results("links.parquet"),
        **REJECTED,
    log:
        results("logs/list_links.log"),
    benchmark:
        results("benchmarks/list_links.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("list_links"),
        source=SOURCE,
        identities_per_job=config["identities_per_job"],
        # an added or removed picture changes its folder's time, and so this rule's parameters
        listing=link_lists.digest_listing(SOURCE),
    script:
        "../workflow_scripts/list_links.py"
