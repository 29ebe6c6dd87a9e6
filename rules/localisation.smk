# reads   nothing: worlds of people who differ in one region only are rendered, cropped and mapped within one job each
# writes  results/localisation/{world}.parquet: where each recogniser's maps fall, control by control
#         results/localisation/{world}.faces.h5 and .maps.h5: the faces, and the maps of the world's own recogniser
#         results/tables/localisation*.csv, results/figures/localisation.*
#
# Does LEAM find the region that carries the identity? `localisation.when` says in which runs it is part of `all`; it can be
# asked for by name in any:  snakemake results/figures/localisation.png

WORLDS = config["localisation"]["regions"]
LOCALISATION = table_paths(
    {"found": "localisation", "regions": "localisation_regions"}
) | dict(zip(("png", "pdf"), figure_paths("localisation")))
if settings.wants_localisation(config):
    TABLES |= {
        "localisation": LOCALISATION["found"],
        "localisation_regions": LOCALISATION["regions"],
    }
    FIGURES += [LOCALISATION["png"], LOCALISATION["pdf"]]


rule measure_localisation:
    input:
        weights=world_weights,
    output:
        measured=results("localisation/{world}.parquet"),
        faces=results("localisation/{world}.faces.h5"),
        maps=results("localisation/{world}.maps.h5"),
    log:
        results("logs/measure_localisation/{world}.log"),
    benchmark:
        results("benchmarks/measure_localisation/{world}.tsv")
    conda:
        "../envs/leam.yaml"
    threads: 1
    params:
        code=code_of("measure_localisation"),
        shipped=shipped_world_weights,
        settings=lookup(within=config, dpath="localisation"),
        entries=as_it_is(settings.recogniser_entries(config)),
        maps=lookup(within=config, dpath="maps"),
        seed=config["seed"],
    script:
        "../workflow_scripts/measure_localisation.py"


rule tabulate_localisation:
    input:
        measured=expand(results("localisation/{world}.parquet"), world=WORLDS),
    output:
        found=report(
            LOCALISATION["found"],
            caption="captions/localisation/localisation.rst",
            category="Localisation",
            labels={"shows": "Is the region that carries the identity found?"},
        ),
        regions=report(
            LOCALISATION["regions"],
            caption="captions/localisation/localisation_regions.rst",
            category="Localisation",
            labels={"shows": "Every region under every recogniser and control"},
        ),
    log:
        results("logs/tabulate_localisation.log"),
    benchmark:
        results("benchmarks/tabulate_localisation.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_localisation"),
        analysis=lookup(within=config, dpath="analysis"),
    script:
        "../workflow_scripts/tabulate_localisation.py"


rule plot_localisation:
    input:
        found=LOCALISATION["found"],
        regions=LOCALISATION["regions"],
        faces=expand(results("localisation/{world}.faces.h5"), world=WORLDS),
        maps=expand(results("localisation/{world}.maps.h5"), world=WORLDS),
    output:
        png=report(
            LOCALISATION["png"],
            caption="captions/localisation/plot_localisation.rst",
            category="Localisation",
            labels={"shows": "Enrichment of the region that carries the identity"},
        ),
        pdf=LOCALISATION["pdf"],
    log:
        results("logs/plot_localisation.log"),
    benchmark:
        results("benchmarks/plot_localisation.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_localisation"),
        seed=config["seed"],
    script:
        "../workflow_scripts/plot_localisation.py"
