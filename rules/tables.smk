# reads   every stage before
# writes  results/tables/*.csv


rule tabulate_retention:
    input:
        **MAPS,
        links=results("links.parquet"),
        faces=shards_of("faces"),
    output:
        retention=report(
            TABLES["retention"],
            caption="captions/retention.rst",
            category="Faces",
            labels={"shows": "Images kept and discarded"},
        ),
        discarded=report(
            TABLES["discarded"],
            caption="captions/discarded.rst",
            category="Faces",
            labels={"shows": "Every discarded image and its reason"},
        ),
    log:
        results("logs/tabulate_retention.log"),
    benchmark:
        results("benchmarks/tabulate_retention.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_retention"),
        models=MODELS,
    script:
        "../workflow_scripts/tabulate_retention.py"


rule tabulate_verification:
    input:
        **MAPS,
    output:
        report(
            TABLES["verification"],
            caption="captions/verification.rst",
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


rule tabulate_regions:
    input:
        counts=expand(results("regions/{model}.parquet"), model=MODELS),
    output:
        regions=report(
            TABLES["regions"],
            caption="captions/regions.rst",
            category="Regions",
            labels={"shows": "Every share, with intervals and enrichment"},
        ),
        table01=report(
            TABLES["table01"],
            caption="captions/table01.rst",
            category="Regions",
            labels={"shows": "Regions by layer (paper table 1)"},
        ),
        table02=report(
            TABLES["table02"],
            caption="captions/table02.rst",
            category="Regions",
            labels={"shows": "Regions in the first layer (paper table 2)"},
        ),
        table10=report(
            TABLES["table10"],
            caption="captions/table10.rst",
            category="Regions",
            labels={"shows": "Regions, full activation (paper table 10)"},
        ),
        table11=report(
            TABLES["table11"],
            caption="captions/table11.rst",
            category="Regions",
            labels={"shows": "Regions, top 1 % (paper table 11)"},
        ),
        table12_to_20=report(
            TABLES["table12_to_20"],
            caption="captions/table12_to_20.rst",
            category="Regions",
            labels={"shows": "Regions by threshold (paper tables 12-20)"},
        ),
    log:
        results("logs/tabulate_regions.log"),
    benchmark:
        results("benchmarks/tabulate_regions.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_regions"),
        models=MODELS,
        analysis=lookup(within=config, dpath="analysis"),
        seed=config["seed"],
        run=RUN,
    script:
        "../workflow_scripts/tabulate_regions.py"


rule tabulate_individuals:
    input:
        counts=expand(results("regions/{model}.parquet"), model=MODELS),
        images=expand(results("regions/{model}.images.parquet"), model=MODELS),
    output:
        individuals=TABLES["individuals"],
        table07=report(
            TABLES["table07"],
            caption="captions/table07.rst",
            category="Individuals",
            labels={"shows": "Regions by individual (paper table 7)"},
        ),
        table08=report(
            TABLES["table08"],
            caption="captions/table08.rst",
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
        individuals=lookup(within=config, dpath="significance/individuals"),
        seed=config["seed"],
        run=RUN,
    script:
        "../workflow_scripts/tabulate_individuals.py"


rule tabulate_run:
    input:
        retention=TABLES["retention"],
    output:
        report(
            TABLES["run"],
            caption="captions/run.rst",
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
        config=config,
    script:
        "../workflow_scripts/tabulate_run.py"


if config["demographics"]:

    rule tabulate_groups:
        input:
            counts=expand(results("regions/{model}.parquet"), model=MODELS),
            demographics=settings.resolve(config, config["demographics"]),
        output:
            report(
                TABLES["groups"],
                caption="captions/groups.rst",
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
            seed=config["seed"],
        script:
            "../workflow_scripts/tabulate_groups.py"


if SOURCE["kind"] == "imdb_face":

    rule tabulate_scraping:
        input:
            summaries=expand(results("images/{shard}.csv"), shard=SHARDS),
        output:
            report(
                TABLES["scraping"],
                caption="captions/scraping.rst",
                category="Images",
                labels={"shows": "Links, alive and dead by reason"},
            ),
        log:
            results("logs/tabulate_scraping.log"),
        benchmark:
            results("benchmarks/tabulate_scraping.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("tabulate_scraping"),
        script:
            "../workflow_scripts/tabulate_scraping.py"
