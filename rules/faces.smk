# reads   results/images/{shard}.h5; the model files that the configuration names
# writes  results/faces/{shard}.h5: crops, the 19 regions, 68 landmarks; and every picture left out, with its reason
#         results/face_models/files.json: path, SHA-256 and size of the model files, where any are needed

# What fetch_face_models found, where model files are needed.
FACE_MODELS = (
    {"models": results("face_models/files.json")}
    if settings.face_model_files(config)
    else {}
)

if settings.face_model_files(config):

    rule fetch_face_models:
        input:
            as_it_is(list(filter(os.path.isfile, settings.face_model_files(config)))),
        output:
            results("face_models/files.json"),
        log:
            results("logs/fetch_face_models.log"),
        benchmark:
            results("benchmarks/fetch_face_models.tsv")
        conda:
            "../envs/leam.yaml"
        params:
            code=code_of("fetch_face_models"),
            settings=as_it_is(settings.faces_settings(config)),
        script:
            "../workflow_scripts/fetch_face_models.py"


rule parse_faces:
    input:
        **FACE_MODELS,
        images=results("images/{shard}.h5"),
    output:
        results("faces/{shard}.h5"),
    log:
        results("logs/parse_faces/{shard}.log"),
    benchmark:
        results("benchmarks/parse_faces/{shard}.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("parse_faces"),
        settings=as_it_is(settings.faces_settings(config)),
    script:
        "../workflow_scripts/parse_faces.py"
