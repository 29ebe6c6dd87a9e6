# reads   a recogniser's weights, where the configuration says they are
# writes  results/weights/{model}.ok: path, SHA-256, size, origin, licence (JSON); a wrong file stops the run here


rule fetch_weights:
    input:
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
        code=code_of("fetch_weights"),
        recogniser=recogniser_entry,
        shipped=shipped_weights,
        seed=config["seed"],
        placement=config["maps"]["placement"],
    script:
        "../workflow_scripts/fetch_weights.py"
