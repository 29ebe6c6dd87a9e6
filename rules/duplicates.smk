# reads   results/images/*.h5 (their ledgers) and results/faces/*.h5
# writes  results/tables/duplicates.csv: every image that is the same as another one, of the same person or of another
#
# One job for all shards, as the copies of a picture may lie in any. With `faces.duplicates: keep` no stage reads the table.

TABLES |= table_paths({"duplicates": "duplicates"})

# What leaves its images out.
DUPLICATES = (
    {"duplicates": TABLES["duplicates"]}
    if config["faces"]["duplicates"] == "drop"
    else {}
)


rule find_duplicates:
    input:
        images=shards_of("images"),
        faces=shards_of("faces"),
    output:
        report(
            TABLES["duplicates"],
            caption="captions/duplicates/duplicates.rst",
            category="Faces",
            labels={"shows": "The same picture twice"},
        ),
    log:
        results("logs/find_duplicates.log"),
    benchmark:
        results("benchmarks/find_duplicates.tsv")
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("find_duplicates"),
    script:
        "../workflow_scripts/find_duplicates.py"
