# reads   results/tables/regions.csv; results/maps/{model}/*.h5 and results/faces/*.h5
# writes  results/figures/*.png and .pdf


rule plot_regions:
    input:
        library("figures", "tables"),
        regions=TABLES["regions"],
    output:
        png=report(
            results("figures/regions.png"),
            caption="captions/plot_regions.rst",
            category="Regions",
            labels={"shows": "Shares and enrichment"},
        ),
        pdf=results("figures/regions.pdf"),
    log:
        results("logs/plot_regions.log"),
    benchmark:
        results("benchmarks/plot_regions.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        analysis=lookup(within=config, dpath="analysis"),
    script:
        "../workflow_scripts/plot_regions.py"


rule plot_maps:
    input:
        library("figures", "storage"),
        maps=maps_of_model,
        faces=shards_of("faces"),
    output:
        png=report(
            results("figures/maps_{model}.png"),
            caption="captions/plot_maps.rst",
            category="Maps",
            labels={"shows": "Maps over the pictures", "recogniser": "{model}"},
        ),
        pdf=results("figures/maps_{model}.pdf"),
    log:
        results("logs/plot_maps/{model}.log"),
    benchmark:
        results("benchmarks/plot_maps/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        analysis=lookup(within=config, dpath="analysis"),
        seed=config["seed"],
    script:
        "../workflow_scripts/plot_maps.py"


rule plot_retention:
    input:
        library("figures", "faces"),
        retention=TABLES["retention"],
        discarded=TABLES["discarded"],
    output:
        png=report(
            results("figures/retention.png"),
            caption="captions/plot_retention.rst",
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
    script:
        "../workflow_scripts/plot_retention.py"
