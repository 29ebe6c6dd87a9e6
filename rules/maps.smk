# reads   results/faces/{shard}.h5, results/weights/{model}.ok and results/tables/duplicates.csv
# writes  results/maps/{model}/{shard}.h5: LEAM of every ordered pair, as image maps and as counts per region
#
# One process per model and shard. Finished identities are kept in a side file, {shard}.h5.journal, so that a job that
# was stopped goes on after the last of them.


rule compute_maps:
    input:
        **DUPLICATES,
        faces=results("faces/{shard}.h5"),
        weights=results("weights/{model}.ok"),
    output:
        results("maps/{model}/{shard}.h5"),
    log:
        results("logs/compute_maps/{model}/{shard}.log"),
    benchmark:
        results("benchmarks/compute_maps/{model}/{shard}.tsv")
    conda:
        "../envs/leam.yaml"
    threads: 1
    params:
        code=code_of("compute_maps"),
        recogniser=recogniser_entry,
        settings=lookup(within=config, dpath="maps"),
        seed=config["seed"],
    script:
        "../workflow_scripts/compute_maps.py"
