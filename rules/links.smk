# reads   the source: the sample's numbers, or the names in a folder
# writes  results/links.parquet: identity, image, url, rect, height, width, shard; one row per picture


rule list_links:
    input:
        library("links"),
    output:
        results("links.parquet"),
    log:
        results("logs/list_links.log"),
    benchmark:
        results("benchmarks/list_links.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        source=SOURCE,
        identities_per_job=config["identities_per_job"],
        # an added or removed picture changes its folder's time, and so this rule's parameters
        listing=link_lists.digest_listing(SOURCE),
    script:
        "../workflow_scripts/list_links.py"
