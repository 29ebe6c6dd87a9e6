# Makes the recognisers of the embedded sample anew. No other rule asks for its outputs, because the weights ship
# with the project (workflow_scripts/leam/sample/weights); it stands here so that anyone can repeat how they came to be:
#
#     snakemake --cores 2 results/training/sample_{arcface,cosface,hair,nose,llip,signature}.safetensors
#
# reads   nothing: the people are rendered
# writes  results/training/{model}.safetensors, and beside it a .json with the losses and the verification AUC


rule train_recogniser:
    output:
        weights=results("training/{model}.safetensors"),
        report=results("training/{model}.json"),
    log:
        results("logs/train_recogniser/{model}.log"),
    benchmark:
        results("benchmarks/train_recogniser/{model}.tsv")
    wildcard_constraints:
        model="sample_(arcface|cosface|hair|nose|llip|signature)",
    conda:
        "../envs/leam.yaml"
    threads: 1
    params:
        code=code_of("train_recogniser"),
    script:
        "../workflow_scripts/train_recogniser.py"
