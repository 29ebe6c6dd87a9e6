# reads   a recogniser's weights, where the configuration says they are
# writes  results/weights/{model}.ok: path, SHA-256, size, origin, licence (JSON); a wrong file stops the run here


def weights_of(wildcards):
    """The weights' file of a model where it has one and it exists; fetch_weights says what is missing."""
    entry = registry.recogniser(wildcards.model, recogniser_entry(wildcards))
    exists = entry.weights and not entry.untrained and os.path.isfile(entry.weights)
    return [entry.weights] if exists else []


def weights_file(wildcards):
    return brought(weights_of(wildcards))


def shipped_weights(wildcards):
    return shipped(weights_of(wildcards))


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
    script:
        "../workflow_scripts/fetch_weights.py"
