# reads   results/links.parquet
# writes  results/images/{shard}.h5: the encoded pictures of a shard, what came with them, and a ledger of every link
#         results/images/{shard}.csv: links and bytes by status, where pictures are fetched from the network
#
# What scrape_images has fetched stays in a side file, {shard}.h5.journal: no server is asked twice.

if SOURCE.pictures == "rendered":

    rule render_sample:
        input:
            links=results("links.parquet"),
        output:
            results("images/{shard}.h5"),
        log:
            results("logs/render_sample/{shard}.log"),
        benchmark:
            results("benchmarks/render_sample/{shard}.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("render_sample"),
            source=as_it_is(SOURCE.settings),
            seed=config["seed"],
        script:
            "../workflow_scripts/render_sample.py"

elif SOURCE.pictures == "scraped":
    # One shard is fetched at a time in the whole run, or a host would see a multiple of scraping.requests_per_second.
    workflow.register_resource("scraping", 1)

    rule scrape_images:
        input:
            links=results("links.parquet"),
        output:
            images=results("images/{shard}.h5"),
            summary=results("images/{shard}.csv"),
        log:
            results("logs/scrape_images/{shard}.log"),
        benchmark:
            results("benchmarks/scrape_images/{shard}.tsv")
        conda:
            "../envs/leam.yaml"
        resources:
            scraping=1,
        params:
            code=code_of("scrape_images"),
            settings=as_it_is(config["scraping"]),
        script:
            "../workflow_scripts/scrape_images.py"

else:

    rule import_images:
        input:
            links=results("links.parquet"),
        output:
            results("images/{shard}.h5"),
        log:
            results("logs/import_images/{shard}.log"),
        benchmark:
            results("benchmarks/import_images/{shard}.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("import_images"),
            source_code=code_of_source(),
            source=as_it_is(SOURCE.settings),
        script:
            "../workflow_scripts/import_images.py"
