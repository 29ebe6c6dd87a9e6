# reads   results/links.parquet
# writes  results/images/{shard}.h5: the encoded pictures of a shard, what came with them, and a ledger of every link

if SOURCE["kind"] == "sample":

    rule render_sample:
        input:
            library(*SAMPLE_MODULES, "storage"),
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
            source=SOURCE,
            seed=config["seed"],
        script:
            "../workflow_scripts/render_sample.py"

else:

    rule import_images:
        input:
            library("images", "storage"),
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
            source=SOURCE,
        script:
            "../workflow_scripts/import_images.py"
