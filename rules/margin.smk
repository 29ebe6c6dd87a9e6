# Which crop margin gives the paper's base rates on these pictures? No other rule asks for it:
#
#     snakemake --cores 2 calibrate_margin
#
# reads   results/images/*.h5
# writes  results/calibration/margin.csv, .png and .pdf


rule calibrate_margin:
    input:
        **FACE_MODELS,
        images=shards_of("images"),
    output:
        table=report(
            results("calibration/margin.csv"),
            caption="captions/margin/calibrate_margin.rst",
            category="Faces",
            labels={"shows": "Area of the regions by crop margin"},
        ),
        png=report(
            results("calibration/margin.png"),
            caption="captions/margin/calibrate_margin.rst",
            category="Faces",
            labels={"shows": "The crop margin closest to the paper"},
        ),
        pdf=results("calibration/margin.pdf"),
    log:
        results("logs/calibrate_margin.log"),
    benchmark:
        results("benchmarks/calibrate_margin.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("calibrate_margin"),
        settings=as_it_is(settings.faces_settings(config)),
    script:
        "../workflow_scripts/calibrate_margin.py"
