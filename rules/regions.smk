# reads   results/maps/{model}/*.h5, for their counts, and results/faces/*.h5, for the regions' area
# writes  results/regions/{model}.parquet: pixels and percent per identity, polarity, layer, threshold and region
#         results/regions/{model}.images.parquet: percent per image, for the whole model
#         results/tables/regions.csv and the paper's tables 1, 2 and 10 to 20; results/figures/regions.*, thresholds_*

TABLES |= table_paths(
    {
        "regions": "regions",
        "table01": "table01_layer_regions",
        "table02": "table02_first_layer_regions",
        "table10": "table10_regions_full",
        "table11": "table11_regions_top1",
        "table12_to_20": "table12_to_20_regions_by_threshold",
    }
)
FIGURES += figure_paths("regions", *(f"thresholds_{model}" for model in MODELS))


rule count_regions:
    input:
        maps=maps_of_model,
        faces=shards_of("faces"),
    output:
        counts=results("regions/{model}.parquet"),
        images=results("regions/{model}.images.parquet"),
    log:
        results("logs/count_regions/{model}.log"),
    benchmark:
        results("benchmarks/count_regions/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("count_regions"),
        grid=lookup(within=config, dpath="maps/grid"),
    script:
        "../workflow_scripts/count_regions.py"


rule tabulate_regions:
    input:
        counts=expand(results("regions/{model}.parquet"), model=MODELS),
    output:
        regions=report(
            TABLES["regions"],
            caption="captions/regions/regions.rst",
            category="Regions",
            labels={"shows": "Every share, with intervals and enrichment"},
        ),
        table01=report(
            TABLES["table01"],
            caption="captions/regions/table01.rst",
            category="Regions",
            labels={"shows": "Regions by layer (paper table 1)"},
        ),
        table02=report(
            TABLES["table02"],
            caption="captions/regions/table02.rst",
            category="Regions",
            labels={"shows": "Regions in the first layer (paper table 2)"},
        ),
        table10=report(
            TABLES["table10"],
            caption="captions/regions/table10.rst",
            category="Regions",
            labels={"shows": "Regions, full activation (paper table 10)"},
        ),
        table11=report(
            TABLES["table11"],
            caption="captions/regions/table11.rst",
            category="Regions",
            labels={"shows": "Regions, top 1 % (paper table 11)"},
        ),
        table12_to_20=report(
            TABLES["table12_to_20"],
            caption="captions/regions/table12_to_20.rst",
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
        run=as_it_is(RUN),
    script:
        "../workflow_scripts/tabulate_regions.py"


rule plot_regions:
    input:
        regions=TABLES["regions"],
    output:
        png=report(
            results("figures/regions.png"),
            caption="captions/regions/plot_regions.rst",
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
        code=code_of("plot_regions"),
        analysis=lookup(within=config, dpath="analysis"),
    script:
        "../workflow_scripts/plot_regions.py"


rule plot_thresholds:
    input:
        regions=TABLES["regions"],
    output:
        png=report(
            results("figures/thresholds_{model}.png"),
            caption="captions/regions/plot_thresholds.rst",
            category="Regions",
            labels={"shows": "Shares by threshold", "recogniser": "{model}"},
        ),
        pdf=results("figures/thresholds_{model}.pdf"),
    log:
        results("logs/plot_thresholds/{model}.log"),
    benchmark:
        results("benchmarks/plot_thresholds/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_thresholds"),
        analysis=lookup(within=config, dpath="analysis"),
        run=as_it_is(RUN),
    script:
        "../workflow_scripts/plot_thresholds.py"
