# reads   the configuration; results/tables/retention.csv
# writes  results/config.yaml: every setting of this run, defaults included
#         results/tables/run.csv: how this run differs from the paper's

TABLES |= table_paths({"run": "run"})


rule write_config:
    output:
        results("config.yaml"),
    log:
        results("logs/write_config.log"),
    benchmark:
        results("benchmarks/write_config.tsv")
    localrule: True
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("write_config"),
        config=config,
    script:
        "../workflow_scripts/write_config.py"


rule tabulate_run:
    input:
        retention=TABLES["retention"],
    output:
        report(
            TABLES["run"],
            caption="captions/run/run.rst",
            category="This run",
            labels={"shows": "This run beside the paper's"},
        ),
    log:
        results("logs/tabulate_run.log"),
    benchmark:
        results("benchmarks/tabulate_run.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_run"),
        config=as_it_is(
            settings.decided(config)
            | {"recognisers": settings.recogniser_entries(config)}
        ),
        words=SOURCE.words,
    script:
        "../workflow_scripts/tabulate_run.py"
