"""How planning grows with the number of jobs: `snakemake -n` of the sample, two recognisers, six people per job.

    python tests/benchmarks/bench_planning.py

Processor seconds, so that a busy machine does not count, and the peak of memory. `leam.links.MOST_JOBS` is their bound.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEOPLE = (600, 1_200, 2_400, 4_800, 10_000)
CONFIG = "identities_per_job: 6\nsource: {{sample: {{identities: {people}}}}}\n"


def plan(people: int, folder: Path) -> tuple[int, float, float]:
    """Jobs, processor seconds and peak of memory (MB) of one dry run."""
    config = folder / f"{people}.yaml"
    config.write_text(CONFIG.format(people=people))
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(folder)]
    with open(folder / "said", "w+") as said:
        running = subprocess.Popen(
            [*command, "-n", "-q", "rules", "--configfile", str(config)], stdout=said, stderr=said
        )
        _, status, used = os.wait4(running.pid, 0)
        said.seek(0)
        text = said.read()
    if status:
        raise RuntimeError(text)
    return int(re.search(r"^total +(\d+)$", text, re.M)[1]), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    per_job = {}
    with tempfile.TemporaryDirectory() as folder:
        for people in PEOPLE:
            jobs, seconds, megabytes = plan(people, Path(folder))
            per_job[people] = seconds / jobs
            print(f"figure planning_{people}_people {jobs} jobs")
            print(f"figure planning_{people}_people_time {seconds:.1f} CPU-s")
            print(f"figure planning_{people}_people_memory {megabytes:.0f} MB", flush=True)
    print(f"figure planning_per_job_of_most_people_to_fewest {per_job[PEOPLE[-1]] / per_job[PEOPLE[0]]:.2f} times")


if __name__ == "__main__":
    main()
