# reads   results/faces/{shard}.h5, results/maps/{model}/*.h5 of the recogniser and of its guides
# writes  results/averages/{model}.h5: what takes all shards (sums of image maps, the threshold), so that no job of one
#         shard reads all others
#         results/twins/{shard}.h5: other people in the same pictures of the sample, where occlusion.fills has twin
#         results/occlusion/{model}/{shard}.parquet: drop of every image under every mask
#         results/tables and results/figures: the paper's tables 9 and 21 and figure 8, the transfer matrix, the
#         decision view, and the chain of controls "Is it person-specific?"
#
# occlude_faces is one process per model and shard. Finished identities are kept in a side file,
# {shard}.parquet.journal, so that a job that was stopped goes on after the last of them.

TABLES |= table_paths(
    {
        "occlusion": "occlusion",
        "decisions": "decisions",
        "person_specific": "person_specific",
        "transfer": "transfer",
        "table09": "table09_occlusion_drop",
        "table21": "table21_occlusion_drop_by_model",
    }
)
FIGURES += figure_paths(
    "figure08_occlusion",
    "decisions",
    "transfer",
    "person_specific",
    "person_specific_layers",
)
OCCLUSION = settings.chosen_occlusion(config)
DROPS = {
    f"drops_{model}": [
        results(f"occlusion/{model}/{shard}.parquet") for shard in SHARDS
    ]
    for model in MODELS
}


rule average_maps:
    input:
        maps=maps_of_model,
    output:
        results("averages/{model}.h5"),
    log:
        results("logs/average_maps/{model}.log"),
    benchmark:
        results("benchmarks/average_maps/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("average_maps"),
        seed=config["seed"],
    script:
        "../workflow_scripts/average_maps.py"


TWINS = {}
if "twin" in OCCLUSION["fills"]:
    TWINS = {"twins": results("twins/{shard}.h5")}

    rule render_twins:
        input:
            faces=results("faces/{shard}.h5"),
        output:
            TWINS["twins"],
        log:
            results("logs/render_twins/{shard}.log"),
        benchmark:
            results("benchmarks/render_twins/{shard}.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("render_twins"),
            source=as_it_is(SOURCE.settings),
            seed=config["seed"],
            faces=as_it_is(settings.faces_settings(config)),
        script:
            "../workflow_scripts/render_twins.py"


rule occlude_faces:
    input:
        **TWINS,
        faces=results("faces/{shard}.h5"),
        maps=guides_maps,
        averages=results("averages/{model}.h5"),
        weights=results("weights/{model}.ok"),
    output:
        results("occlusion/{model}/{shard}.parquet"),
    log:
        results("logs/occlude_faces/{model}/{shard}.log"),
    benchmark:
        results("benchmarks/occlude_faces/{model}/{shard}.tsv")
    conda:
        "../envs/leam.yaml"
    threads: 1
    params:
        code=code_of("occlude_faces"),
        recogniser=recogniser_entry,
        guides=guides_of_model,
        settings=OCCLUSION,
        seed=config["seed"],
    script:
        "../workflow_scripts/occlude_faces.py"


rule tabulate_occlusion:
    input:
        **DROPS,
        verification=TABLES["verification"],
    output:
        person_specific=report(
            TABLES["person_specific"],
            caption="captions/occlusion/person_specific.rst",
            category="Occlusion",
            labels={"shows": "Is it person-specific? Every step, tested"},
        ),
        table09=report(
            TABLES["table09"],
            caption="captions/occlusion/table09.rst",
            category="Occlusion",
            labels={"shows": "Drop by occluded share (paper table 9)"},
        ),
        table21=report(
            TABLES["table21"],
            caption="captions/occlusion/table21.rst",
            category="Occlusion",
            labels={"shows": "Drop by recogniser (paper table 21)"},
        ),
        transfer=report(
            TABLES["transfer"],
            caption="captions/occlusion/transfer.rst",
            category="Occlusion",
            labels={"shows": "Every guide under every recogniser"},
        ),
        decisions=report(
            TABLES["decisions"],
            caption="captions/occlusion/decisions.rst",
            category="Occlusion",
            labels={"shows": "Genuine pairs lost"},
        ),
        occlusion=report(
            TABLES["occlusion"],
            caption="captions/occlusion/occlusion.rst",
            category="Occlusion",
            labels={"shows": "Every mean drop, with intervals"},
        ),
    log:
        results("logs/tabulate_occlusion.log"),
    benchmark:
        results("benchmarks/tabulate_occlusion.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_occlusion"),
        models=MODELS,
        guide=OCCLUSION["headline_guide"],
        fill=OCCLUSION["paper_fill"],
        fill_words=run_table.describe_fill(OCCLUSION["paper_fill"]),
        why_fills=run_table.describe_fills(
            OCCLUSION["fills"], OCCLUSION["headline_fill"]
        ),
        primary={
            "polarity": config["analysis"]["polarity"],
            "fill": OCCLUSION["headline_fill"],
            "percent": OCCLUSION["headline_percent"],
        },
        analysis=lookup(within=config, dpath="analysis"),
    script:
        "../workflow_scripts/tabulate_occlusion.py"


rule plot_person_specific:
    input:
        occlusion=TABLES["occlusion"],
        person_specific=TABLES["person_specific"],
        verdict=results("tables/verdict.csv"),
    output:
        chain_png=report(
            results("figures/person_specific.png"),
            caption="captions/occlusion/plot_person_specific.rst",
            category="Occlusion",
            labels={"shows": "Is it person-specific?"},
        ),
        chain_pdf=results("figures/person_specific.pdf"),
        layers_png=report(
            results("figures/person_specific_layers.png"),
            caption="captions/occlusion/plot_person_specific_layers.rst",
            category="Occlusion",
            labels={"shows": "The same, layer by layer"},
        ),
        layers_pdf=results("figures/person_specific_layers.pdf"),
    log:
        results("logs/plot_person_specific.log"),
    benchmark:
        results("benchmarks/plot_person_specific.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_person_specific"),
        percent=OCCLUSION["headline_percent"],
        fill=OCCLUSION["headline_fill"],
        why_fills=run_table.describe_fills(
            OCCLUSION["fills"], OCCLUSION["headline_fill"]
        ),
        analysis=lookup(within=config, dpath="analysis"),
    script:
        "../workflow_scripts/plot_person_specific.py"


rule plot_occlusion:
    input:
        occlusion=TABLES["occlusion"],
        decisions=TABLES["decisions"],
    output:
        drop_png=report(
            results("figures/figure08_occlusion.png"),
            caption="captions/occlusion/plot_occlusion.rst",
            category="Occlusion",
            labels={"shows": "Drop by occluded share (paper figure 8)"},
        ),
        drop_pdf=results("figures/figure08_occlusion.pdf"),
        lost_png=report(
            results("figures/decisions.png"),
            caption="captions/occlusion/plot_decisions.rst",
            category="Occlusion",
            labels={"shows": "Genuine pairs lost by occluded share"},
        ),
        lost_pdf=results("figures/decisions.pdf"),
    log:
        results("logs/plot_occlusion.log"),
    benchmark:
        results("benchmarks/plot_occlusion.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_occlusion"),
        guide=OCCLUSION["headline_guide"],
        fill=OCCLUSION["paper_fill"],
        fill_words=run_table.describe_fill(OCCLUSION["paper_fill"]),
        analysis=lookup(within=config, dpath="analysis"),
    script:
        "../workflow_scripts/plot_occlusion.py"


rule plot_transfer:
    input:
        transfer=TABLES["transfer"],
    output:
        png=report(
            results("figures/transfer.png"),
            caption="captions/occlusion/plot_transfer.rst",
            category="Occlusion",
            labels={"shows": "Whose maps hurt whom"},
        ),
        pdf=results("figures/transfer.pdf"),
    log:
        results("logs/plot_transfer.log"),
    benchmark:
        results("benchmarks/plot_transfer.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_transfer"),
        percent=OCCLUSION["headline_percent"],
        fill=OCCLUSION["headline_fill"],
    script:
        "../workflow_scripts/plot_transfer.py"
