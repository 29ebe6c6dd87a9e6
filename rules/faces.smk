# reads   results/images/{shard}.h5
# writes  results/faces/{shard}.h5: crops, the 19 regions, 68 landmarks; and every picture left out, with its reason


rule parse_faces:
    input:
        library("faces", "images", "regions", "storage"),
        images=results("images/{shard}.h5"),
    output:
        results("faces/{shard}.h5"),
    log:
        results("logs/parse_faces/{shard}.log"),
    benchmark:
        results("benchmarks/parse_faces/{shard}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        settings=settings.faces_settings(config),
    script:
        "../workflow_scripts/parse_faces.py"
