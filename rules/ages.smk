# reads   results/faces/{shard}.h5 and results/maps/{model}/{shard}.h5 of pictures whose names say the age
# writes  results/ages/{model}/{shard}.parquet: cosines of all pairs with their difference in age
#         results/tables/age_slopes.csv and the paper's table 24; results/figures/ages.*

AGE_PATTERN = settings.age_pattern(config)


AGES = {
    f"ages_{model}": [results(f"ages/{model}/{shard}.parquet") for shard in SHARDS]
    for model in MODELS
}


if AGE_PATTERN:
    TABLES |= table_paths(
        {"table24": "table24_age_difference", "age_slopes": "age_slopes"}
    )
    FIGURES += figure_paths("ages")

    rule measure_ages:
        input:
            faces=results("faces/{shard}.h5"),
            maps=age_maps,
            weights=results("weights/{model}.ok"),
        output:
            results("ages/{model}/{shard}.parquet"),
        log:
            results("logs/measure_ages/{model}/{shard}.log"),
        benchmark:
            results("benchmarks/measure_ages/{model}/{shard}.tsv")
        conda:
            "../envs/leam.yaml"
        threads: 1
        params:
            code=code_of("measure_ages"),
            recogniser=recogniser_entry,
            guides=age_guides,
            guide=OCCLUSION["headline_guide"],
            pattern=as_it_is(AGE_PATTERN),
            settings=OCCLUSION,
            seed=config["seed"],
        script:
            "../workflow_scripts/measure_ages.py"

    rule tabulate_ages:
        input:
            **AGES,
        output:
            table24=report(
                TABLES["table24"],
                caption="captions/ages/table24.rst",
                category="Ages",
                labels={"shows": "Similarity by difference in age (paper table 24)"},
            ),
            age_slopes=report(
                TABLES["age_slopes"],
                caption="captions/ages/age_slopes.rst",
                category="Ages",
                labels={"shows": "How fast the similarity falls with age"},
            ),
        log:
            results("logs/tabulate_ages.log"),
        benchmark:
            results("benchmarks/tabulate_ages.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("tabulate_ages"),
            models=MODELS,
            fill=OCCLUSION["paper_fill"],
            fill_words=run_table.describe_fill(OCCLUSION["paper_fill"]),
            analysis=lookup(within=config, dpath="analysis"),
            run=as_it_is(RUN),
        script:
            "../workflow_scripts/tabulate_ages.py"

    rule plot_ages:
        input:
            ages=TABLES["table24"],
        output:
            png=report(
                results("figures/ages.png"),
                caption="captions/ages/plot_ages.rst",
                category="Ages",
                labels={"shows": "Similarity by difference in age (paper figure 11)"},
            ),
            pdf=results("figures/ages.pdf"),
        log:
            results("logs/plot_ages.log"),
        benchmark:
            results("benchmarks/plot_ages.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("plot_ages"),
            analysis=lookup(within=config, dpath="analysis"),
            run=as_it_is(RUN),
        script:
            "../workflow_scripts/plot_ages.py"
