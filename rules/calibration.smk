# reads   results/tables/person_specific.csv and retention.csv; all else is rendered
# writes  results/calibration/chain/{kind}.parquet: drops in a world of signatures, and in worlds of one region
#         results/calibration/drops/{general}.parquet and gains/{general}.parquet: drops under every fill and under twins,
#         and how much of the true effect of regions the maps hold
#         results/tables/calibration.csv, verdict.csv; results/figures/calibration.*; results/verdict.txt and report.rst, the
#         first page of the report
#
# How far can this instrument be believed? `calibration.when` says in which runs it is part of `all`, and
# `calibration.size` how much is measured. It is of the sample's own recognisers, whatever the run is about.

CALIBRATION = table_paths({"calibration": "calibration"}) | dict(
    zip(("png", "pdf"), figure_paths("calibration"))
)
VERDICT = table_paths({"verdict": "verdict"}) | {
    "text": results("verdict.txt"),
    "page": results("report.rst"),
}
# where it is: Snakemake would look for a relative path in the checkout
FIRST_PAGE = os.path.abspath(VERDICT["page"])
IS_CALIBRATED = settings.wants_calibration(config)
TABLES |= {"verdict": VERDICT["verdict"]}
if IS_CALIBRATED:
    TABLES |= {"calibration": CALIBRATION["calibration"]}
    FIGURES += [CALIBRATION["png"], CALIBRATION["pdf"]]


rule measure_chain:
    output:
        results("calibration/chain/{kind}.parquet"),
    log:
        results("logs/measure_chain/{kind}.log"),
    benchmark:
        results("benchmarks/measure_chain/{kind}.tsv")
    wildcard_constraints:
        kind="|".join(calibration.CHAIN_WORLDS),
    conda:
        "../envs/leam.yaml"
    threads: 1
    params:
        code=code_of("measure_chain"),
        shipped=chain_weights,
        maps=lookup(within=config, dpath="maps"),
        occlusion=OCCLUSION,
        size=lookup(within=config, dpath="calibration/size"),
        seed=config["seed"],
    script:
        "../workflow_scripts/measure_chain.py"


rule measure_truth:
    output:
        drops=results("calibration/drops/{general}.parquet"),
        gains=results("calibration/gains/{general}.parquet"),
    log:
        results("logs/measure_truth/{general}.log"),
    benchmark:
        results("benchmarks/measure_truth/{general}.tsv")
    wildcard_constraints:
        general="|".join(registry.GENERAL_MODELS),
    conda:
        "../envs/leam.yaml"
    threads: 1
    params:
        code=code_of("measure_truth"),
        shipped=general_weights,
        maps=lookup(within=config, dpath="maps"),
        occlusion=OCCLUSION,
        size=lookup(within=config, dpath="calibration/size"),
        seed=config["seed"],
    script:
        "../workflow_scripts/measure_truth.py"


rule tabulate_calibration:
    input:
        chains=expand(
            results("calibration/chain/{kind}.parquet"), kind=calibration.CHAIN_WORLDS
        ),
        drops=expand(
            results("calibration/drops/{general}.parquet"),
            general=registry.GENERAL_MODELS,
        ),
        gains=expand(
            results("calibration/gains/{general}.parquet"),
            general=registry.GENERAL_MODELS,
        ),
    output:
        report(
            CALIBRATION["calibration"],
            caption="captions/calibration/calibration.rst",
            category="Calibration",
            labels={"shows": "Agreement, power and gain"},
        ),
    log:
        results("logs/tabulate_calibration.log"),
    benchmark:
        results("benchmarks/tabulate_calibration.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_calibration"),
        size=lookup(within=config, dpath="calibration/size"),
        analysis=lookup(within=config, dpath="analysis"),
        seed=config["seed"],
    script:
        "../workflow_scripts/tabulate_calibration.py"


rule tabulate_verdict:
    input:
        person_specific=TABLES["person_specific"],
        retention=TABLES["retention"],
        calibration=CALIBRATION["calibration"] if IS_CALIBRATED else [],
    output:
        verdict=report(
            VERDICT["verdict"],
            caption="captions/calibration/verdict.rst",
            category="Calibration",
            labels={"shows": "Is it person-specific? The verdicts"},
        ),
        text=VERDICT["text"],
        page=VERDICT["page"],
    log:
        results("logs/tabulate_verdict.log"),
    benchmark:
        results("benchmarks/tabulate_verdict.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_verdict"),
        percent=OCCLUSION["headline_percent"],
        maps=lookup(within=config, dpath="maps"),
        front=files.sha256(FRONT_PAGE),
    script:
        "../workflow_scripts/tabulate_verdict.py"


rule plot_calibration:
    input:
        calibration=CALIBRATION["calibration"],
    output:
        png=report(
            CALIBRATION["png"],
            caption="captions/calibration/plot_calibration.rst",
            category="Calibration",
            labels={"shows": "How far can this instrument be believed?"},
        ),
        pdf=CALIBRATION["pdf"],
    log:
        results("logs/plot_calibration.log"),
    benchmark:
        results("benchmarks/plot_calibration.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_calibration"),
        maps=lookup(within=config, dpath="maps"),
        size=lookup(within=config, dpath="calibration/size"),
    script:
        "../workflow_scripts/plot_calibration.py"
