# reads   results/maps/{model}/*.h5, for their embeddings
# writes  results/tables/verification.csv: does each recogniser tell these very people apart?

TABLES |= table_paths({"verification": "verification"})


rule tabulate_verification:
    input:
        **MAPS,
    output:
        report(
            TABLES["verification"],
            caption="captions/verification/verification.rst",
            category="Recognisers",
            labels={"shows": "Verification on these images"},
        ),
    log:
        results("logs/tabulate_verification.log"),
    benchmark:
        results("benchmarks/tabulate_verification.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_verification"),
        models=MODELS,
        seed=config["seed"],
    script:
        "../workflow_scripts/tabulate_verification.py"
