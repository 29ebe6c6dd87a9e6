# reads   results/occlusion/{model}/*.parquet, results/regions/{model}*.parquet and the demographics; for ages, the faces
#         and the maps of a data set whose images' names say the age
# writes  results/significance.csv: groups compared by Mann-Whitney U; the paper's tables 22-24, figures 9-11
#         results/ages/{model}/{shard}.parquet: cosines of all pairs with their difference in age

DROP_LABELS = {
    "drops_by_group": "Drop by group",
    "table22": "Drop of women (paper table 22)",
    "table23": "Drop of men (paper table 23)",
}

if ATTRIBUTES:

    rule assess_significance:
        input:
            **DROPS,
            counts=expand(results("regions/{model}.parquet"), model=MODELS),
            images=expand(results("regions/{model}.images.parquet"), model=MODELS),
            demographics=settings.resolve(config, config["demographics"]),
        output:
            report(
                TABLES["significance"],
                caption="captions/significance.rst",
                category="Groups",
                labels={"shows": "Every test of groups"},
            ),
        log:
            results("logs/assess_significance.log"),
        benchmark:
            results("benchmarks/assess_significance.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("assess_significance"),
            models=MODELS,
            guide=settings.paper_guide(config),
        script:
            "../workflow_scripts/assess_significance.py"

    rule tabulate_drops:
        input:
            **DROPS,
            demographics=settings.resolve(config, config["demographics"]),
        output:
            **{
                name: report(
                    path,
                    caption=f"captions/{name}.rst",
                    category="Groups",
                    labels={"shows": DROP_LABELS[name]},
                )
                for name, path in DROP_TABLES.items()
            },
        log:
            results("logs/tabulate_drops.log"),
        benchmark:
            results("benchmarks/tabulate_drops.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("tabulate_drops"),
            models=MODELS,
            guide=settings.paper_guide(config),
            analysis=lookup(within=config, dpath="analysis"),
            seed=config["seed"],
            run=RUN,
        script:
            "../workflow_scripts/tabulate_drops.py"

    rule plot_groups:
        input:
            drops=TABLES["drops_by_group"],
            significance=TABLES["significance"],
        output:
            png=report(
                results("figures/drops_by_{attribute}.png"),
                caption="captions/plot_groups.rst",
                category="Groups",
                labels={"shows": "Drop by {attribute}"},
            ),
            pdf=results("figures/drops_by_{attribute}.pdf"),
        log:
            results("logs/plot_groups/{attribute}.log"),
        benchmark:
            results("benchmarks/plot_groups/{attribute}.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("plot_groups"),
            guide=settings.paper_guide(config),
            analysis=lookup(within=config, dpath="analysis"),
            run=RUN,
        script:
            "../workflow_scripts/plot_groups.py"


if AGE_PATTERN:

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
            guide=settings.paper_guide(config),
            pattern=AGE_PATTERN,
            settings=lookup(within=config, dpath="occlusion"),
            seed=config["seed"],
        script:
            "../workflow_scripts/measure_ages.py"

    rule tabulate_ages:
        input:
            **AGES,
        output:
            table24=report(
                TABLES["table24"],
                caption="captions/table24.rst",
                category="Ages",
                labels={"shows": "Similarity by difference in age (paper table 24)"},
            ),
            age_slopes=report(
                TABLES["age_slopes"],
                caption="captions/age_slopes.rst",
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
            analysis=lookup(within=config, dpath="analysis"),
            seed=config["seed"],
            run=RUN,
        script:
            "../workflow_scripts/tabulate_ages.py"

    rule plot_ages:
        input:
            ages=TABLES["table24"],
        output:
            png=report(
                results("figures/ages.png"),
                caption="captions/plot_ages.rst",
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
            run=RUN,
        script:
            "../workflow_scripts/plot_ages.py"
