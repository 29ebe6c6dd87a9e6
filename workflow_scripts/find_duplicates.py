"""Rule find_duplicates: see leam.faces.duplicates.find_duplicates."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.faces.duplicates import find_duplicates

find_duplicates(snakemake.input.images, snakemake.input.faces, snakemake.output[0])
