"""A real Slurm of one node on this machine, from Debian's packages, with the names and limits of a real site.

    with Cluster(folder) as cluster:
        subprocess.run(["sinfo"], env=cluster.environment)

Everything is kept under one folder and every daemon runs in the foreground as a child of this process, so that nothing
outlives it. Needs root (jobs change user, devices are made). The node claims more than the machine has: 28 cores,
768 GB and four GPUs, whose devices are stand-ins, enough for Slurm to count and hand out.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

CLIENTS = ("sbatch", "srun", "squeue", "sacct", "sacctmgr", "scancel", "sinfo", "scontrol", "sshare", "sstat")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
PACKAGES = "slurm-wlm slurmdbd munge mariadb-server"
CORES, MEMORY_MB, GPUS = 28, 768_000, 4  # of a GPU node of iris
ACCOUNT = "project_leam"
LONG_QOS = ("iris-batch-long", "iris-gpu-long")
QOS = ("besteffort", "normal", *LONG_QOS)
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl
CGROUPS = Path("/sys/fs/cgroup")

SLURM_CONF = """
ClusterName=iris
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
{tracking}
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
ReturnToService=2
EnforcePartLimits=ALL
PreemptType=preempt/qos
PreemptMode=REQUEUE
PriorityType=priority/multifactor
PriorityWeightQOS=1000
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStoragePass={root}/munge/socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
GresTypes=gpu
InactiveLimit=0
KillWait=5
MinJobAge=600
OverTimeLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:volta:{gpus} Features=skylake,volta
PartitionName=batch Nodes={host} Default=YES DefaultTime=2:00:00 MaxTime=2-00:00:00 DefMemPerCPU=1700
PartitionName=gpu Nodes={host} DefaultTime=2:00:00 MaxTime=2-00:00:00 DefMemPerCPU=1700
"""
BY_CGROUPS = "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup\nJobAcctGatherFrequency=30"
BY_POLLING = (
    "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nJobAcctGatherFrequency=2\n"
    "JobAcctGatherParams=OverMemoryKill"
)
SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting_port}
SlurmUser=root
PidFile={root}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""


def missing() -> str:
    """Why no cluster can be started here, as one sentence; "" when it can."""
    if os.geteuid() != 0:
        return "a Slurm of its own needs root"
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
    absent = [name for name in (*CLIENTS, *DAEMONS) if not _on_path(name, path)]
    return f"{absent[0]} is not installed: apt-get install {PACKAGES}" if absent else ""


def _on_path(name: str, path: str) -> bool:
    return any(os.access(Path(folder) / name, os.X_OK) for folder in path.split(os.pathsep))


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def can_limit_memory() -> bool:
    """Whether Slurm may make memory and freezer cgroups (version 1) here; it polls otherwise."""
    for kind in ("memory", "freezer"):
        trial = CGROUPS / kind / f"leam-{os.getpid()}"
        try:
            trial.mkdir()
            trial.rmdir()
        except OSError:
            return False
    return True


class Cluster:
    """munge, MariaDB, slurmdbd, slurmctld and slurmd, started on entry and stopped on exit."""

    def __init__(self, root: Path):
        self.root = root
        self.host = socket.gethostname().split(".")[0]
        self.cgroups = can_limit_memory()
        self.processes: dict[str, subprocess.Popen] = {}
        self.environment = os.environ | {
            "PATH": f"{root}/bin:{os.environ['PATH']}:/usr/sbin",
            "SLURM_CONF": f"{root}/slurm.conf",
        }

    def __enter__(self) -> "Cluster":
        try:
            self._configure()
            self._start_munge()
            self._start_accounting()
            self.start_controller()
            self._start("slurmd", "slurmd", "-D", "-f", self.root / "slurm.conf")
            self.wait(lambda: self.run("sinfo", "-h", "-o", "%T").strip() == "idle", "an idle node")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if "slurmd" in self.processes:
            with contextlib.suppress(TimeoutError):
                self.calm()
        for name in reversed(list(self.processes)):
            self.stop(name)

    # ------------------------------------------------------------------------------------------------- daemons

    def _configure(self) -> None:
        for folder in ("", "bin", "munge", "database", "state", "spool", "log", "devices"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            (self.root / folder).chmod(0o755)  # munge wants its socket reachable by all
        controller, node, accounting = free_ports(3)
        facts = {
            "root": self.root,
            "host": self.host,
            "controller_port": controller,
            "node_port": node,
            "accounting_port": accounting,
            "cores": CORES,
            "memory": MEMORY_MB,
            "gpus": GPUS,
            "tracking": BY_CGROUPS if self.cgroups else BY_POLLING,
        }
        self._write("slurm.conf", SLURM_CONF.format(**facts))
        self._write("slurmdbd.conf", SLURMDBD_CONF.format(**facts), mode=0o600)
        limits = "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\nAllowedSwapSpace=0\n"
        self._write("cgroup.conf", "CgroupAutomount=no\n" + (limits if self.cgroups else ""))
        devices = [self.root / "devices" / f"nvidia{number}" for number in range(GPUS)]
        for number, device in enumerate(devices):
            if not device.exists():
                os.mknod(device, 0o20666, os.makedev(195, number))
        gpus = f"NodeName={self.host} Name=gpu Type=volta File={self.root}/devices/nvidia[0-{GPUS - 1}]"
        self._write("gres.conf", f"AutoDetect=off\n{gpus} Flags=nvidia_gpu_env\n")
        for client in CLIENTS:  # the executor plugin strips SLURM_CONF from a job's environment
            wrapper = f'#!/bin/sh\nSLURM_CONF={self.root}/slurm.conf exec /usr/bin/{client} "$@"\n'
            self._write(f"bin/{client}", wrapper, mode=0o755)

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.root / name
        path.write_text(text)
        path.chmod(mode)

    def _start(self, name: str, *command, **environment) -> None:
        def die_with_parent():
            ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)

        with open(self.root / "log" / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(part) for part in command],
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def stop(self, name: str) -> None:
        """End one daemon."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start_munge(self) -> None:
        folder = self.root / "munge"
        (folder / "key").write_bytes(secrets.token_bytes(1024))
        (folder / "key").chmod(0o400)
        files = [f"--{kind}-file={folder}/{kind}" for kind in ("key", "pid", "log", "seed")]
        self._start("munged", "munged", "--foreground", f"--socket={folder}/socket", *files)
        self.wait(lambda: self.run("munge", "-S", folder / "socket", "-n", check=False), "munge")

    def _start_accounting(self) -> None:
        folder, socket_path = self.root / "database", self.root / "database" / "socket"
        own = ("--no-defaults", f"--datadir={folder}/data", "--user=root")
        self.run("mariadb-install-db", *own, "--auth-root-authentication-method=normal", "--skip-test-db")
        small = ("--skip-networking", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M")
        self._start("mariadbd", "mariadbd", *own, f"--socket={socket_path}", f"--pid-file={folder}/pid", *small)
        client = ("mariadb", "--no-defaults", f"--socket={socket_path}")
        made = "create database slurm_acct_db; select 'made'"
        self.wait(lambda: "made" in self.run(*client, "-e", made, check=False), "MariaDB")
        self._start("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=str(socket_path))
        self.wait(lambda: "Cluster" in self.run("sacctmgr", "list", "cluster", check=False), "slurmdbd")
        user = ("user", "root", f"account={ACCOUNT}")
        for change in (
            ("add", "cluster", "iris"),
            ("add", "account", ACCOUNT, "Description=tests", "Organization=tests"),
            ("add", "qos", "besteffort"),
            *(("add", "qos", name, "Flags=PartitionTimeLimit", "MaxWall=14-00:00:00") for name in LONG_QOS),
            ("modify", "qos", "normal", "set", "Preempt=besteffort", "Priority=100"),
            ("add", *user, f"DefaultAccount={ACCOUNT}"),
            ("modify", "user", "root", "set", f"qos={','.join(QOS)}", "defaultqos=normal"),
        ):
            self.run("sacctmgr", "-i", *change)

    def start_controller(self) -> None:
        """Start slurmctld, anew after ``stop("slurmctld")``: it goes on from its saved state."""
        self._start("slurmctld", "slurmctld", "-D", "-f", self.root / "slurm.conf")
        self.wait(lambda: "UP" in self.run("scontrol", "ping", check=False), "slurmctld")

    # --------------------------------------------------------------------------------------------------- asking

    def run(self, *command, check: bool = True) -> str:
        """The output of a command, with the cluster's clients on the path."""
        words = [str(word) for word in command]
        found = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=120)
        if check and found.returncode:
            raise RuntimeError(f"{' '.join(words)}: {found.stderr or found.stdout}")
        return found.stdout

    def wait(self, true, what: str, seconds: float = 120) -> None:
        """Wait until ``true()`` is; generous, as the machine may be busy."""
        deadline = time.monotonic() + seconds
        while not true():
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                why = f"{ended[0]} ended" if ended else f"waited {seconds:g} s"
                logs = (self.root / "log" / f"{name}.log" for name in ended or self.processes)
                tails = "".join(f"\n{log.name}: ...{log.read_text(errors='replace')[-1500:]}" for log in logs)
                raise TimeoutError(f"{why} before there was {what}{tails}")
            time.sleep(0.2)

    def queue(self) -> list[dict[str, str]]:
        """The jobs that wait or run: id, state, comment, folder."""
        keys = ("id", "state", "comment", "folder")
        lines = self.run("squeue", "-h", "-o", "%i|%T|%k|%Z", check=False).splitlines()
        return [dict(zip(keys, line.split("|"), strict=True)) for line in lines]

    def calm(self) -> None:
        """Back to an idle node and an empty queue, whatever a test left."""
        if "slurmctld" not in self.processes:
            self.start_controller()
        self.run("scancel", "--user=root", check=False)
        self.run("scontrol", "update", f"NodeName={self.host}", "State=RESUME", check=False)
        self.wait(lambda: not self.queue(), "an empty queue")

    def history(self) -> list[dict[str, str]]:
        """Every job there ever was, from the accounting: one entry per run of a job that was requeued."""
        keys = "JobIDRaw,JobName,State,Partition,QOS,ReqMem,Timelimit,ReqTRES,ReqCPUS,Comment,Account,WorkDir"
        text = self.run("sacct", "-X", "-D", "-n", "-P", "-S", "now-1days", f"--format={keys}")
        return [dict(zip(keys.split(","), line.split("|"), strict=True)) for line in text.splitlines()]
