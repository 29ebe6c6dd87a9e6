# reads   results/links.parquet, results/faces/*.h5, results/maps/{model}/*.h5, results/tables/duplicates.csv; of scraped
#         sources the ledgers
# writes  results/tables/retention.csv, discarded.csv and, of a scraped source, scraping.csv; results/figures/retention.*

TABLES |= table_paths({"retention": "retention", "discarded": "discarded"})
FIGURES += figure_paths("retention")


rule tabulate_retention:
    input:
        **MAPS,
        **DUPLICATES,
        links=results("links.parquet"),
        faces=shards_of("faces"),
    output:
        retention=report(
            TABLES["retention"],
            caption="captions/retention/retention.rst",
            category="Faces",
            labels={"shows": "Images kept and discarded"},
        ),
        discarded=report(
            TABLES["discarded"],
            caption="captions/retention/discarded.rst",
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


rule plot_retention:
    input:
        retention=TABLES["retention"],
        discarded=TABLES["discarded"],
    output:
        png=report(
            results("figures/retention.png"),
            caption="captions/retention/plot_retention.rst",
            category="Faces",
            labels={"shows": "Images kept, and discarded by reason"},
        ),
        pdf=results("figures/retention.pdf"),
    log:
        results("logs/plot_retention.log"),
    benchmark:
        results("benchmarks/plot_retention.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_retention"),
    script:
        "../workflow_scripts/plot_retention.py"


if SOURCE.pictures == "scraped":
    TABLES |= table_paths({"scraping": "scraping"})

    rule tabulate_scraping:
        input:
            summaries=expand(results("images/{shard}.csv"), shard=SHARDS),
        output:
            report(
                TABLES["scraping"],
                caption="captions/retention/scraping.rst",
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
