"""Rule tabulate_verdict: see leam.analyses.calibration.verdict.tabulate_verdict."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.calibration.verdict import tabulate_verdict

given, params = snakemake.input, snakemake.params
tabulate_verdict(
    given.person_specific,
    given.retention,
    given.get("calibration") or None,
    snakemake.output.verdict,
    snakemake.output.text,
    snakemake.output.page,
    percent=params.percent,
    placement=params.maps["placement"],
    target=params.maps["target"],
)
