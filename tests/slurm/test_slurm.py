"""The workflow on a real Slurm: submitted as the profile says, and surviving what happens on clusters.

Every disturbed run ends with the tables of an undisturbed one, and does no finished job twice. `make test-slurm`.
"""

import os
import subprocess
import sys
import time
from collections import Counter

import pytest
import yaml

import faulty
from conftest import ROOT, TABLES, Run

pytestmark = pytest.mark.slurm

PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())


def completed(run: Run, rule: str) -> Counter:
    """How often each job of a rule was seen to its end."""
    return Counter(job["Comment"] for job in run.jobs(f"rule_{rule}", ("COMPLETED",)))


def once(run: Run, rule: str) -> bool:
    found = completed(run, rule)
    return bool(found) and set(found.values()) == {1}


def strikes(run: Run, recogniser: str):
    """Whether a fault that strikes once has struck."""
    return lambda: not (run.folder / faulty.FOLDER / recogniser).exists()


def let_go(run: Run) -> None:
    (run.folder / faulty.FOLDER / "go").touch()


# ------------------------------------------------------------------------------------------------------- end to end


@pytest.fixture(scope="module")
def laptop_and_slurm(cluster, tmp_path_factory):
    """The sample's workflow up to its tables, once on this machine and once through sbatch."""
    folder = tmp_path_factory.mktemp("whole")
    laptop, slurm = Run(folder / "laptop", cluster), Run(folder / "slurm", cluster)
    pictures = ("--omit-from", *(rule for rule in Run.rules() if rule.startswith(("plot_", "build_"))))
    threads = PROFILE["set-threads"]
    cores = len(os.sched_getaffinity(0))  # a job's Snakemake uses no more, whatever Slurm takes this machine for
    alike = {rule: min(threads[rule], cores) for rule in ("compute_maps", "occlude_faces")}
    laptop.on_laptop(*pictures, threads=alike)
    slurm.snakemake(*slurm.on_slurm(*pictures, **{"set-threads": threads}))
    return laptop, slurm


def test_tables_are_those_of_a_laptop(laptop_and_slurm):
    laptop, slurm = laptop_and_slurm
    names = tuple(str(path.relative_to(laptop.folder)) for path in (laptop.folder / "results/tables").glob("*.csv"))
    assert len(names) >= 15
    assert slurm.digests(names) == laptop.digests(names)


def test_every_job_asked_for_what_the_profile_says(laptop_and_slurm):
    _, slurm = laptop_and_slurm
    jobs = slurm.jobs()
    assert {job["State"] for job in jobs} == {"COMPLETED"}
    assert {job["Partition"] for job in jobs} == {"batch", "gpu"}
    for job in jobs:
        rule = next(rule for rule in slurm.rules() if job["Comment"].startswith(f"rule_{rule}"))
        asked = PROFILE["default-resources"] | PROFILE["set-resources"].get(rule, {})
        facts = dict(part.split("=") for part in job["ReqTRES"].split(","))
        uses_gpu = 'resources.get("gpu")' in (ROOT / f"workflow_scripts/{rule}.py").read_text()
        assert job["Partition"] == asked["slurm_partition"] == ("gpu" if uses_gpu else "batch")
        assert (job["QOS"], job["Account"]) == (asked["qos"], "project_leam")
        assert facts.get("gres/gpu") == ("1" if uses_gpu else None)
        assert facts["cpu"] == str(PROFILE["set-threads"].get(rule, 1))
        assert job["ReqMem"] == f"{eval(str(asked['mem_mb']), {'attempt': 1})}M"
        assert job["Timelimit"] == f"{eval(asked['runtime'], {'attempt': 1}) // 60:02}:00:00"
        assert job["JobName"].startswith("leam_")


def test_logs_are_in_one_folder_and_those_of_successful_jobs_are_gone(laptop_and_slurm):
    _, slurm = laptop_and_slurm
    assert not list(slurm.folder.rglob("slurm/**/*.log"))
    assert not list(slurm.folder.glob("slurm-*.out"))


@pytest.mark.parametrize("variant", [None, "slurm-long", "slurm-besteffort"])
def test_the_doctor_finds_the_cluster_as_the_profile_wants_it(cluster, tmp_path, variant):
    overlay = ["--workflow-profile", ROOT / "profiles" / variant] if variant else []
    run = Run(tmp_path, cluster)
    command = [sys.executable, "-m", "leam.doctor", "--configfile", run.config, *overlay]
    words = [str(word) for word in command]
    found = subprocess.run(words, cwd=tmp_path, env=run.environment, capture_output=True, text=True)
    assert "MISSING" not in found.stdout, found.stdout
    assert found.stdout.count("partition  ok") == 2
    assert ("iris-gpu-long" in found.stdout) == (variant == "slurm-long")
    assert ("besteffort" in found.stdout) == (variant == "slurm-besteffort")


# --------------------------------------------------------------------------------------------- jobs that come to grief

STRUCK = ("cancelled", "too_large", "too_slow", "killed", "broken")


@pytest.fixture(scope="module")
def storm(cluster, disturbed):
    """A run in which a job is cancelled, one runs out of memory, one stops itself before its time limit, one is killed
    at it, and one fails whenever it is tried; then a second run, when that one can be done.
    """
    run, expected = disturbed(*STRUCK)
    run.order("cancelled", "hang", "s000")
    run.order("too_large", "swell", "s001", once=False)
    run.order("too_slow", "dawdle", "s000")
    run.order("killed", "hang", "s001")
    run.order("broken", "fail", "s002", once=False)
    tight = {
        "compute_maps": {
            "slurm_partition": "gpu",
            "gpu": 1,
            "runtime": "(1 if wildcards.model == 'killed' else 2) * 2 ** (attempt - 1)",
            "mem_mb": "1400 * attempt",
        }
    }
    process = run.start(*run.on_slurm(*TABLES, **{"set-resources": tight}))
    cluster.wait(strikes(run, "cancelled"), "the job to cancel", seconds=600)
    cluster.run("scancel", *run.queued("rule_compute_maps_wildcards_cancelled_00000", "RUNNING"))
    run.first_code = run.finish(process)
    run.first_log = run.log.read_text()
    run.first_jobs = run.jobs()
    (run.folder / faulty.FOLDER / "broken").unlink()
    run.second_log = run.snakemake(*run.on_slurm(*TABLES))
    return run, expected


def test_a_cancelled_job_is_submitted_again(storm):
    run, _ = storm
    states = [job["State"] for job in run.jobs("compute_maps_wildcards_cancelled_00000")]
    assert states[0].startswith("CANCELLED") and states[-1] == "COMPLETED"


def test_a_job_out_of_memory_gets_more(storm):
    run, _ = storm
    jobs = run.jobs("compute_maps_wildcards_too_large_00000")
    assert [job["ReqMem"] for job in jobs[:2]] == ["1400M", "2800M"]
    assert jobs[0]["State"] in ("OUT_OF_MEMORY", "FAILED") and jobs[-1]["State"] == "COMPLETED"
    assert "oom" in run.first_log.lower()


def test_a_job_stops_itself_before_its_time_limit_and_goes_on_from_there(storm):
    run, _ = storm
    jobs = run.jobs("compute_maps_wildcards_too_slow_00000")
    assert jobs[0]["State"] == "FAILED" and jobs[-1]["State"] == "COMPLETED"
    assert "stopped too_slow before its time limit with 1 of 2 identities done" in run.first_log
    assert "2 identities, 1 done before" in (run.folder / "results/logs/compute_maps/too_slow/00000.log").read_text()


def test_a_job_killed_at_its_time_limit_gets_more_time_and_goes_on(storm):
    run, _ = storm
    jobs = run.jobs("compute_maps_wildcards_killed_00000")
    assert jobs[0]["State"] == "TIMEOUT" and jobs[-1]["State"] == "COMPLETED"
    assert [job["Timelimit"] for job in jobs[:2]] == ["00:01:00", "00:02:00"]
    assert "2 identities, 1 done before" in (run.folder / "results/logs/compute_maps/killed/00000.log").read_text()


def test_a_shard_that_always_fails_leaves_all_others_done_and_is_named_at_the_end(storm):
    run, _ = storm
    tried = [job for job in run.first_jobs if "compute_maps_wildcards_broken_00001" in job["Comment"]]
    assert [job["State"] for job in tried] == ["FAILED"] * 4  # retries: 3
    assert run.first_code != 0
    done = {job["Comment"] for job in run.first_jobs if job["State"] == "COMPLETED"}
    maps = {f"rule_compute_maps_wildcards_{name}_0000{shard}" for name in STRUCK for shard in (0, 1)}
    counts = {f"rule_count_regions_wildcards_{name}" for name in STRUCK}
    assert done == (maps | counts) - {"rule_compute_maps_wildcards_broken_00001", "rule_count_regions_wildcards_broken"}
    end = run.first_log[run.first_log.rindex("Failed for good: 1.") :]
    assert "compute_maps: results/maps/broken/00001.h5" in end and "RuntimeError: this person always fails" in end


def test_after_the_storm_the_tables_are_those_of_an_undisturbed_run(storm):
    run, expected = storm
    assert run.digests() == expected
    for rule in ("compute_maps", "count_regions", "tabulate_regions", "tabulate_verification"):
        assert once(run, rule)


# ---------------------------------------------------------------------------------------------- a cluster with faults


def test_a_drained_node_and_a_restarted_controller_only_delay(cluster, disturbed):
    run, expected = disturbed("steady")
    run.order("steady", "hold", "s000")
    cluster.run("scontrol", "update", f"NodeName={cluster.host}", "State=DRAIN", "Reason=test")
    process = run.start(*run.on_slurm(*TABLES))
    cluster.wait(lambda: len(cluster.queue()) == 2, "two jobs that wait", seconds=600)
    assert {job["state"] for job in cluster.queue()} == {"PENDING"}
    cluster.run("scontrol", "update", f"NodeName={cluster.host}", "State=RESUME")
    cluster.wait(strikes(run, "steady"), "a job that runs", seconds=600)
    cluster.stop("slurmctld")
    time.sleep(30)  # long enough for Snakemake to ask in vain
    cluster.start_controller()
    let_go(run)
    assert run.finish(process) == 0
    assert run.digests() == expected
    assert once(run, "compute_maps") and len(run.jobs("rule_compute_maps")) == 2


def test_a_job_that_gives_way_to_others_is_put_back_into_the_queue(cluster, disturbed):
    run, expected = disturbed("steady")
    run.order("steady", "hang", "s001")
    process = run.start(*run.on_slurm(*TABLES, variant="slurm-besteffort"))
    cluster.wait(strikes(run, "steady"), "a job that runs", seconds=600)
    cluster.run("sbatch", "--qos=normal", "-p", "gpu", "-c", 28, "-o", "/dev/null", "--wrap", "sleep 3")
    job = "rule_compute_maps_wildcards_steady_00000"
    cluster.wait(lambda: run.queued(job, "PENDING"), "the job to give way", seconds=300)
    cluster.run("scontrol", "update", f"JobId={run.queued(job, 'PENDING')[0]}", "StartTime=now")  # not in two minutes
    assert run.finish(process) == 0
    assert run.digests() == expected
    assert run.jobs(job)[0]["State"] == "PREEMPTED"
    assert {found["QOS"] for found in run.jobs()} == {"besteffort"}
    assert once(run, "compute_maps")
    assert "2 identities, 1 done before" in (run.folder / "results/logs/compute_maps/steady/00000.log").read_text()


def test_after_snakemake_was_killed_the_next_run_takes_over_what_its_jobs_finish(cluster, disturbed):
    run, expected = disturbed("steady")
    run.order("steady", "hold", "s000")
    process = run.start(*run.on_slurm(*TABLES))
    cluster.wait(strikes(run, "steady"), "a job that runs", seconds=600)
    cluster.wait(lambda: "1 of 5 steps" in run.log.read_text(), "the other shard", seconds=600)
    process.kill()
    process.wait()
    assert "--unlock" in run.snakemake(*run.on_slurm(*TABLES), ok=False)
    run.snakemake("--unlock")
    process = run.start(*run.on_slurm(*TABLES))
    log = run.folder / "results/logs/compute_maps/steady/00000.log"
    waits = "another process is writing this shard"
    cluster.wait(lambda: log.exists() and waits in log.read_text(), "the second job", seconds=600)
    assert len(run.queued("rule_compute_maps_wildcards_steady_00000", "RUNNING")) == 2
    let_go(run)
    assert run.finish(process) == 0
    assert "another process has finished it" in log.read_text()
    assert run.digests() == expected
    assert completed(run, "compute_maps_wildcards_steady_00001") == {"rule_compute_maps_wildcards_steady_00001": 1}


# ------------------------------------------------------------------------------------------------- files with faults


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_named_and_nothing_half_is_left(cluster, disturbed, small_disk):
    run, expected = disturbed("steady")
    (run.folder / "results").rename(run.folder / "before")
    subprocess.run(["cp", "-a", run.folder / "before", small_disk / "results"], check=True)
    (run.folder / "results").symlink_to(small_disk / "results")
    ballast = small_disk / "ballast"
    free = int(subprocess.check_output(["stat", "-f", "-c", "%f * %S", small_disk], text=True).split(" * ")[0]) * 4096
    ballast.write_bytes(bytes(free - 2**16))
    text = run.snakemake(*run.on_slurm(*TABLES, "--retries", 1), ok=False)
    assert "no space left on device; make room and run again" in text
    assert not list((run.folder / "results/maps").rglob("*.h5")) and not list(small_disk.rglob("*.part"))
    ballast.unlink()
    run.snakemake(*run.on_slurm(*TABLES))
    assert run.digests() == expected
    assert once(run, "compute_maps")


def test_a_truncated_file_is_named_set_aside_and_made_anew(cluster, disturbed):
    run, expected = disturbed("steady")
    maps = [run.folder / f"results/maps/steady/0000{shard}.h5" for shard in (0, 1)]
    run.on_laptop(*(path.relative_to(run.folder) for path in maps))
    whole = maps[1].read_bytes()
    maps[1].write_bytes(whole[: len(whole) // 2])
    text = run.snakemake(*run.on_slurm(*TABLES, "--retries", 0), ok=False)
    assert "results/maps/steady/00001.h5 is damaged" in text and "run again, and it is made anew" in text
    run.snakemake(*run.on_slurm(*TABLES))
    assert run.digests() == expected
    assert maps[1].read_bytes() == whole
    assert completed(run, "compute_maps") == {"rule_compute_maps_wildcards_steady_00001": 1}
