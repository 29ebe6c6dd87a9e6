# reads   results/faces/*.h5, results/maps/{model}/*.h5 and results/tables/verification.csv
# writes  results/explorer/index.html: one page to look at the maps of a few identities


rule build_explorer:
    input:
        **MAPS,
        faces=shards_of("faces"),
        verification=TABLES["verification"],
    output:
        results("explorer/index.html"),
    log:
        results("logs/build_explorer.log"),
    benchmark:
        results("benchmarks/build_explorer.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("build_explorer"),
        models=MODELS,
        settings=lookup(within=config, dpath="explorer"),
        seed=config["seed"],
    script:
        "../workflow_scripts/build_explorer.py"
