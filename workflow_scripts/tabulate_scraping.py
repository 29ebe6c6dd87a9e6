"""Rule tabulate_scraping: see leam.scraping.tabulate_scraping."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.scraping import tabulate_scraping

tabulate_scraping(snakemake.input.summaries, snakemake.output[0])
