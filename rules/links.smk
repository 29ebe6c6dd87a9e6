# reads   the source: the sample's numbers, the names in a folder, or the rows of the IMDb-Face list; the table
#         of rectangles of a folder
# writes  results/links.parquet: identity, image, url, rect, height, width, shard; one row per picture
#         results/links_rejected.csv: the rows of the list, or of a table of rectangles, that cannot be used, with their
#         line and the reason
#         results/unused_files.csv: what else lies in the source's folders, and why it is of no use

REJECTED = {"rejected": results("links_rejected.csv")} if SOURCE.rejects else {}


rule list_links:
    input:
        **{name: as_it_is(path) for name, path in SOURCE.files().items()},
    output:
        **REJECTED,
        links=results("links.parquet"),
        unused=results("unused_files.csv"),
    log:
        results("logs/list_links.log"),
    benchmark:
        results("benchmarks/list_links.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("list_links"),
        source_code=code_of_source(),
        source=as_it_is(SOURCE.settings),
        identities_per_job=config["identities_per_job"],
        # an added or removed picture changes its folder's time, and so this rule's parameters
        listing=SOURCE.fingerprint(),
    script:
        "../workflow_scripts/list_links.py"
