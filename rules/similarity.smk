# reads   results/maps/{model}/*.h5 and results/faces/*.h5
# writes  results/similarity/{model}/population.h5: the template of the canonical frame, and the mean map in it
#         results/similarity/{model}/{shard}.parquet: BC and EMD of pairs of the same and of different people
#         results/similarity/{model}/{shard}.null.parquet: those of the nulls
#         results/tables/similarity.csv and the paper's tables 3 to 6; results/figures/similarity.png and .pdf

TABLES |= table_paths(
    {
        "similarity": "similarity",
        "table03": "table03_bc_same",
        "table04": "table04_bc_different",
        "table05": "table05_emd_same",
        "table06": "table06_emd_different",
    }
)
FIGURES += figure_paths("similarity")


SIMILARITY = {
    f"{kind}_{model}": [
        results(f"similarity/{model}/{shard}{ending}.parquet") for shard in SHARDS
    ]
    for kind, ending in (("pairs", ""), ("nulls", ".null"))
    for model in MODELS
}


rule average_population:
    input:
        maps=maps_of_model,
        faces=shards_of("faces"),
    output:
        results("similarity/{model}/population.h5"),
    log:
        results("logs/average_population/{model}.log"),
    benchmark:
        results("benchmarks/average_population/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("average_population"),
        settings=lookup(within=config, dpath="similarity"),
        grid=lookup(within=config, dpath="maps/grid"),
        seed=config["seed"],
    script:
        "../workflow_scripts/average_population.py"


rule measure_similarity:
    input:
        maps=maps_compared,
        faces=faces_compared,
        population=results("similarity/{model}/population.h5"),
    output:
        pairs=results("similarity/{model}/{shard}.parquet"),
        nulls=results("similarity/{model}/{shard}.null.parquet"),
    log:
        results("logs/measure_similarity/{model}/{shard}.log"),
    benchmark:
        results("benchmarks/measure_similarity/{model}/{shard}.tsv")
    conda:
        "../envs/leam.yaml"
    threads: 1
    params:
        code=code_of("measure_similarity"),
        settings=lookup(within=config, dpath="similarity"),
        grid=lookup(within=config, dpath="maps/grid"),
        seed=config["seed"],
    script:
        "../workflow_scripts/measure_similarity.py"


rule tabulate_similarity:
    input:
        **SIMILARITY,
    output:
        similarity=report(
            TABLES["similarity"],
            caption="captions/similarity/similarity.rst",
            category="Similarity",
            labels={"shows": "Same against different people, with nulls"},
        ),
        table03=report(
            TABLES["table03"],
            caption="captions/similarity/table03.rst",
            category="Similarity",
            labels={"shows": "BC, same person (paper table 3)"},
        ),
        table04=report(
            TABLES["table04"],
            caption="captions/similarity/table04.rst",
            category="Similarity",
            labels={"shows": "BC, different people (paper table 4)"},
        ),
        table05=report(
            TABLES["table05"],
            caption="captions/similarity/table05.rst",
            category="Similarity",
            labels={"shows": "EMD, same person (paper table 5)"},
        ),
        table06=report(
            TABLES["table06"],
            caption="captions/similarity/table06.rst",
            category="Similarity",
            labels={"shows": "EMD, different people (paper table 6)"},
        ),
    log:
        results("logs/tabulate_similarity.log"),
    benchmark:
        results("benchmarks/tabulate_similarity.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("tabulate_similarity"),
        models=MODELS,
        rendered=SOURCE.pictures == "rendered",  # for the captions
        analysis=lookup(within=config, dpath="analysis"),
    script:
        "../workflow_scripts/tabulate_similarity.py"


rule plot_similarity:
    input:
        similarity=TABLES["similarity"],
    output:
        png=report(
            results("figures/similarity.png"),
            caption="captions/similarity/plot_similarity.rst",
            category="Similarity",
            labels={"shows": "Same against different people by layer"},
        ),
        pdf=results("figures/similarity.pdf"),
    log:
        results("logs/plot_similarity.log"),
    benchmark:
        results("benchmarks/plot_similarity.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_similarity"),
        analysis=lookup(within=config, dpath="analysis"),
    script:
        "../workflow_scripts/plot_similarity.py"
