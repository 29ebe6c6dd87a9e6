# reads   results/links.parquet, the table of people, results/occlusion/{model}/*.parquet, results/regions/{model}*.parquet
# writes  results/tables/people.csv, missing_people.csv, groups.csv, significance.csv (Mann-Whitney U), the paper's tables
#         22 and 23, figures 9 and 10

ATTRIBUTES = settings.attributes(config)
DROPS_BY_GROUP = {"drops_by_group": "drops_by_group"}
if "gender" in ATTRIBUTES:
    DROPS_BY_GROUP |= {
        "table22": "table22_occlusion_drop_female",
        "table23": "table23_occlusion_drop_male",
    }
DROP_LABELS = {
    "drops_by_group": "Drop by group",
    "table22": "Drop of women (paper table 22)",
    "table23": "Drop of men (paper table 23)",
}
FIGURES += figure_paths(*(f"drops_by_{attribute}" for attribute in ATTRIBUTES))

if ATTRIBUTES:
    PEOPLE_TABLES = table_paths({"people": "people", "missing": "missing_people"})
    TABLES |= PEOPLE_TABLES | table_paths({"groups": "groups"})
    PEOPLE_LABELS = {
        "people": "Everybody of the run",
        "missing": "People of the run or of the table alone",
    }

    rule match_people:
        input:
            links=results("links.parquet"),
            demographics=as_it_is(
                settings.resolve(config, config["demographics"]) or []
            ),
        output:
            **{
                name: report(
                    path,
                    caption=f"captions/groups/{name}.rst",
                    category="Groups",
                    labels={"shows": PEOPLE_LABELS[name]},
                )
                for name, path in PEOPLE_TABLES.items()
            },
        log:
            results("logs/match_people.log"),
        benchmark:
            results("benchmarks/match_people.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("match_people"),
            source_code=code_of_source(),
            source=as_it_is(SOURCE.settings),
        script:
            "../workflow_scripts/match_people.py"

    rule tabulate_groups:
        input:
            counts=expand(results("regions/{model}.parquet"), model=MODELS),
            people=TABLES["people"],
        output:
            report(
                TABLES["groups"],
                caption="captions/groups/groups.rst",
                category="Regions",
                labels={"shows": "Regions by gender and ethnicity"},
            ),
        log:
            results("logs/tabulate_groups.log"),
        benchmark:
            results("benchmarks/tabulate_groups.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("tabulate_groups"),
            models=MODELS,
            analysis=lookup(within=config, dpath="analysis"),
        script:
            "../workflow_scripts/tabulate_groups.py"

    DROP_TABLES = table_paths(DROPS_BY_GROUP)
    TABLES |= DROP_TABLES | table_paths({"significance": "significance"})

    rule assess_significance:
        input:
            **DROPS,
            counts=expand(results("regions/{model}.parquet"), model=MODELS),
            images=expand(results("regions/{model}.images.parquet"), model=MODELS),
            people=TABLES["people"],
        output:
            report(
                TABLES["significance"],
                caption="captions/groups/significance.rst",
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
            guide=OCCLUSION["headline_guide"],
        script:
            "../workflow_scripts/assess_significance.py"

    rule tabulate_drops:
        input:
            **DROPS,
            people=TABLES["people"],
        output:
            **{
                name: report(
                    path,
                    caption=f"captions/groups/{name}.rst",
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
            guide=OCCLUSION["headline_guide"],
            fill=OCCLUSION["paper_fill"],
            fill_words=run_table.describe_fill(OCCLUSION["paper_fill"]),
            analysis=lookup(within=config, dpath="analysis"),
            run=as_it_is(RUN),
        script:
            "../workflow_scripts/tabulate_drops.py"

    rule plot_groups:
        input:
            drops=TABLES["drops_by_group"],
            significance=TABLES["significance"],
        output:
            png=report(
                results("figures/drops_by_{attribute}.png"),
                caption="captions/groups/plot_groups.rst",
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
            guide=OCCLUSION["headline_guide"],
            fill=OCCLUSION["paper_fill"],
            analysis=lookup(within=config, dpath="analysis"),
            run=as_it_is(RUN),
        script:
            "../workflow_scripts/plot_groups.py"
