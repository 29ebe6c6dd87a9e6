# reads   results/maps/{model}/*.h5, for their counts, and results/faces/*.h5, for the regions' area
# writes  results/regions/{model}.parquet: pixels and percent per identity, polarity, layer, threshold and region
#         results/regions/{model}.images.parquet: percent per image, for the whole model


rule count_regions:
    input:
        maps=maps_of_model,
        faces=shards_of("faces"),
    output:
        counts=results("regions/{model}.parquet"),
        images=results("regions/{model}.images.parquet"),
    log:
        results("logs/count_regions/{model}.log"),
    benchmark:
        results("benchmarks/count_regions/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("count_regions"),
        grid=lookup(within=config, dpath="maps/grid"),
    script:
        "../workflow_scripts/count_regions.py"
