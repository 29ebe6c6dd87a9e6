# reads   results/maps/{model}/*.h5 and results/faces/*.h5
# writes  results/figures: maps and pixel sets drawn over faces (the paper's figures 3 to 7)

EXPRESSIONS = settings.chosen_faces(config)["landmarks"] != "none"
FIGURES += figure_paths(
    "person",
    "recognisers",
    *(
        f"{figure}_{model}"
        for figure in ("maps", "layers", "sensitivity", *["expressions"] * EXPRESSIONS)
        for model in MODELS
    ),
)


rule plot_maps:
    input:
        maps=maps_of_model,
        faces=shards_of("faces"),
    output:
        png=report(
            results("figures/maps_{model}.png"),
            caption="captions/examples/plot_maps.rst",
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
        code=code_of("plot_maps"),
        analysis=lookup(within=config, dpath="analysis"),
        seed=config["seed"],
    script:
        "../workflow_scripts/plot_maps.py"


rule plot_layers:
    input:
        maps=maps_of_model,
        faces=shards_of("faces"),
    output:
        png=report(
            results("figures/layers_{model}.png"),
            caption="captions/examples/plot_layers.rst",
            category="Examples",
            labels={"shows": "Layer by layer", "recogniser": "{model}"},
        ),
        pdf=results("figures/layers_{model}.pdf"),
    log:
        results("logs/plot_layers/{model}.log"),
    benchmark:
        results("benchmarks/plot_layers/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_layers"),
        seed=config["seed"],
    script:
        "../workflow_scripts/plot_layers.py"


rule plot_sensitivity:
    input:
        maps=maps_of_model,
        faces=shards_of("faces"),
    output:
        png=report(
            results("figures/sensitivity_{model}.png"),
            caption="captions/examples/plot_sensitivity.rst",
            category="Examples",
            labels={"shows": "Thresholds", "recogniser": "{model}"},
        ),
        pdf=results("figures/sensitivity_{model}.pdf"),
    log:
        results("logs/plot_sensitivity/{model}.log"),
    benchmark:
        results("benchmarks/plot_sensitivity/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_sensitivity"),
        analysis=lookup(within=config, dpath="analysis"),
        seed=config["seed"],
    script:
        "../workflow_scripts/plot_sensitivity.py"


rule plot_expressions:
    input:
        maps=maps_of_model,
        faces=shards_of("faces"),
    output:
        png=report(
            results("figures/expressions_{model}.png"),
            caption="captions/examples/plot_expressions.rst",
            category="Examples",
            labels={"shows": "Mouth closed and open", "recogniser": "{model}"},
        ),
        pdf=results("figures/expressions_{model}.pdf"),
    log:
        results("logs/plot_expressions/{model}.log"),
    benchmark:
        results("benchmarks/plot_expressions/{model}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_expressions"),
        analysis=lookup(within=config, dpath="analysis"),
        seed=config["seed"],
    script:
        "../workflow_scripts/plot_expressions.py"


rule plot_person:
    input:
        **MAPS,
        faces=shards_of("faces"),
    output:
        png=report(
            results("figures/person.png"),
            caption="captions/examples/plot_person.rst",
            category="Examples",
            labels={"shows": "One person under every recogniser"},
        ),
        pdf=results("figures/person.pdf"),
    log:
        results("logs/plot_person.log"),
    benchmark:
        results("benchmarks/plot_person.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_person"),
        models=MODELS,
        analysis=lookup(within=config, dpath="analysis"),
        seed=config["seed"],
    script:
        "../workflow_scripts/plot_person.py"


rule plot_recognisers:
    input:
        **MAPS,
        faces=shards_of("faces"),
    output:
        png=report(
            results("figures/recognisers.png"),
            caption="captions/examples/plot_recognisers.rst",
            category="Examples",
            labels={"shows": "One image under every recogniser"},
        ),
        pdf=results("figures/recognisers.pdf"),
    log:
        results("logs/plot_recognisers.log"),
    benchmark:
        results("benchmarks/plot_recognisers.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("plot_recognisers"),
        models=MODELS,
        analysis=lookup(within=config, dpath="analysis"),
        seed=config["seed"],
    script:
        "../workflow_scripts/plot_recognisers.py"
