"""The profiles: each plans without Slurm, and each asks for a GPU where the rule uses one, and nowhere else."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from leam import doctor
from runs import ROOT, jobs

VARIANTS = sorted(path.name for path in (ROOT / "profiles").glob("slurm-*"))
RULES = {path.stem: path.read_text() for path in (ROOT / "workflow_scripts").glob("*.py")}
GPU_RULES = {name for name, text in RULES.items() if 'resources.get("gpu")' in text}


def profile(variant=None):
    return doctor.read_profile(ROOT / "profiles/slurm", ROOT / "profiles" / variant if variant else None)


def plan(folder, *arguments, **environment):
    command = [sys.executable, "-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--directory", folder, *arguments]
    words = [str(word) for word in command]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"  # no client of a cluster that may be installed elsewhere
    return subprocess.run(words, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True)


@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_every_variant_plans_without_slurm(tmp_path, variant):
    overlay = ["--workflow-profile", ROOT / "profiles" / variant] if variant else []
    found = plan(tmp_path, "--profile", ROOT / "profiles/slurm", *overlay)
    assert found.returncode == 0, found.stderr
    assert jobs(found.stdout + found.stderr)["compute_maps"] == 4
    maps = re.search(r"rule compute_maps:.*?resources: (.*?)\n", found.stdout + found.stderr, re.S).group(1)
    assert ("slurm_partition=gpu" in maps and "gpu=1" in maps) == (variant != "slurm-aion")
    assert "runtime=" in maps and "mem_mb=" in maps and "qos=" in maps


def test_the_bare_name_works_after_one_link(tmp_path):
    (tmp_path / "snakemake").mkdir()
    (tmp_path / "snakemake/slurm").symlink_to(ROOT / "profiles/slurm")
    found = plan(tmp_path, "--profile", "slurm", XDG_CONFIG_HOME=str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert "slurm_partition=gpu" in found.stdout + found.stderr


@pytest.mark.parametrize("variant", [None, "slurm-long"])
def test_the_rules_that_use_a_gpu_are_those_that_ask_for_one(variant):
    """So that no CPU work lands on a GPU node, and no GPU rule on a CPU."""
    asked = profile(variant)["set-resources"]
    existing = {name for name in asked if name in RULES}
    assert {name for name in existing if asked[name].get("gpu")} == GPU_RULES
    assert {name for name in existing if asked[name].get("slurm_partition") == "gpu"} == GPU_RULES


@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_runtime_and_memory_grow_with_every_attempt_up_to_the_sites_limits(variant):
    merged = profile(variant)
    limit = 20160 if variant == "slurm-long" else 2880
    for section in (merged["default-resources"], *merged["set-resources"].values()):
        memory = 192_000 if section.get("slurm_partition") == "gpu" else 120_000  # a GPU's share, or a whole node
        for key, most in (("runtime", limit), ("mem_mb", memory)):
            if key in section:
                grown = [eval(section[key], {"attempt": 1 + retry}) for retry in range(1 + merged["retries"])]
                assert grown[0] < grown[1] <= max(grown) <= most, (variant, section)


def test_retries_and_attempts_stand_in_the_profile_only():
    """A rule's own multiply, since every job is a Snakemake too."""
    assert profile()["retries"] > 0
    for path in (ROOT / "rules").glob("*.smk"):
        assert not re.search(r"^ +retries:|\battempt\b", path.read_text(), re.M), path.name


def test_besteffort_alone_leaves_requeueing_to_slurm():
    assert profile()["slurm-no-requeue"] and not profile().get("slurm-requeue")
    besteffort = profile("slurm-besteffort")
    assert besteffort["slurm-requeue"] and not besteffort["slurm-no-requeue"]
    assert besteffort["slurm-qos"] == "besteffort"


def test_squeue_is_asked_as_long_as_slurm_remembers():
    """MinJobAge is 300 s unless a site says otherwise; the plugin wants three times the first look."""
    assert profile()["slurm-status-command"] == "squeue"
    assert 3 * profile()["slurm-init-seconds-before-status-checks"] <= 300


def test_every_line_of_the_profiles_is_explained():
    for path in (ROOT / "profiles").glob("*/config.yaml"):
        lines = path.read_text().splitlines()
        for above, line in itertools.pairwise(lines):
            if re.match(r"[a-z-]+:", line):
                assert above.startswith("#") or re.match(r"[a-z-]+:", above) or above == "", (path, line)
        assert lines[0].startswith("# snakemake --profile")
        assert yaml.safe_load(path.read_text())
