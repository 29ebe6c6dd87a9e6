# reads   results/regions/{model}*.parquet
# writes  results/tables/individuals.csv and the paper's tables 7 and 8: do people differ, and a person's own images?

TABLES |= table_paths(
    {
        "individuals": "individuals",
        "table07": "table07_regions_by_individual",
        "table08": "table08_individual_statistics",
    }
)


rule tabulate_individuals:
    input:
        counts=expand(results("regions/{model}.parquet"), model=MODELS),
        images=expand(results("regions/{model}.images.parquet"), model=MODELS),
    output:
        individuals=TABLES["individuals"],
        table07=report(
            TABLES["table07"],
            caption="captions/individuals/table07.rst",
            category="Individuals",
            labels={"shows": "Regions by individual (paper table 7)"},
        ),
        table08=report(
            TABLES["table08"],
            caption="captions/individuals/table08.rst",
            category="Individuals",
            labels={"shows": "Spread within and across individuals (paper table 8)"},
        ),
    log:
        results("logs/tabulate_individuals.log"),
    benchmark:
        results("benchmarks/tabulate_individuals.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_individuals"),
        models=MODELS,
        confidence=lookup(within=config, dpath="analysis/confidence"),
        table_identities=lookup(within=config, dpath="analysis/table_identities"),
        seed=config["seed"],
        run=as_it_is(RUN),
    script:
        "../workflow_scripts/tabulate_individuals.py"
