# reads   nothing but the configuration
# writes  results/config.yaml: every setting of this run, defaults included


rule write_config:
    output:
        results("config.yaml"),
    log:
        results("logs/write_config.log"),
    benchmark:
        results("benchmarks/write_config.tsv")
    localrule: True
    conda:
        "../envs/leam.yaml"
    params:
        code=code_of("write_config"),
        config=config,
    script:
        "../workflow_scripts/write_config.py"
