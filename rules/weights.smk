# reads   a recogniser's weights, where the configuration says they are
# writes  results/weights/{model}.ok: path, SHA-256, size, origin, licence (JSON); a wrong file stops the run here


rule fetch_weights:
    input:
        library("weights", "models", "architectures"),
        weights_file,
    output:
        results("weights/{model}.ok"),
    log:
        results("logs/fetch_weights/{model}.log"),
    benchmark:
        results("benchmarks/fetch_weights/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        recogniser=recogniser_entry,
        seed=config["seed"],
    script:
        "../workflow_scripts/fetch_weights.py"
