"""A Slurm cluster of four hosts on one machine: a login node, which also has the controller, and nodes n1, n2 and n3.

    with slurm_cluster(folder) as cluster:
        cluster.run("sbatch", "--gpus=1", "job.sh", user="ada")

It is Debian's Slurm, as it is; tests/slurm/install.sh installs it. Needs root. Several can be up at a time. A cluster
is gone when its block ends, and also when the process that made it is killed, but for its folder then.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from slurm_files import ADDRESSES, LOGIN, NODES, lay_out
from slurm_machine import KINDS, SYSTEM_PATH, ClusterError, Command, Machine, Process, Socket

UP_S = 240
"""Bound for a loaded machine; a cluster is up after a second or less, with accounting after a few."""

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAMS, DATABASE_PROGRAMS = (
    ("ip", "ss", "nsenter", "unshare", "munged", "slurmctld", "slurmd"),
    ("mariadbd", "slurmdbd"),
)


@dataclass(frozen=True)
class Job:
    """A job, or a task of an array, as squeue tells of it; also for two hours after its end."""

    id: str
    """12, or 12_3 for a task of an array."""
    state: str
    """PENDING, RUNNING, COMPLETED, ..."""
    node: str
    """Empty as long as it has none."""
    partition: str
    reason: str
    user: str
    name: str


@dataclass(frozen=True)
class Outcome:
    """What became of a command."""

    status: int
    output: str
    errors: str


class SlurmCluster:
    """The cluster; see slurm_cluster.

    Attributes
    ----------
    nodes : the names of the nodes that compute
    shared : a folder for everybody, which has the same path on every node and outside; where commands begin
    accounting : whether sacct tells anything
    """

    nodes = NODES

    def __init__(self, folder: Path, accounting: bool):
        self.folder, self.shared, self.accounting = folder, folder / "shared", accounting
        seen = list(dict.fromkeys([folder, CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)]))
        daemons = "mariadbd slurmdbd slurmctld" if accounting else "slurmctld"
        login = Machine(LOGIN, ADDRESSES[LOGIN], folder, daemons, seen)
        self._machines = {LOGIN: login} | {
            name: Machine(name, ADDRESSES[name], folder, "slurmd", seen, login) for name in NODES
        }

    def attempt(
        self,
        *words: str | Path,
        node: str = LOGIN,
        user: str = "root",
        timeout_s: float = UP_S,
        folder: Path | None = None,
        stdin: str = "",
        **environment: object,
    ) -> Outcome:
        """Run a command to its end, whatever that is.

        Parameters
        ----------
        user
            root, or ada, who may do little.
        folder
            Where it begins, instead of in the shared folder.
        environment
            Given to it besides PATH, LANG, HOME, USER, LOGNAME, SHELL and SLURM_CONF.

        Raises
        ------
        ClusterError
            If it takes too long; it is dead then.
        """
        machine = self._machine(node)
        try:
            return Outcome(*machine.run(words, user, folder or self.shared, environment, stdin, timeout_s))
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{said(words)} on {node} did not end within {timeout_s} s") from None

    def run(self, *words: str | Path, node: str = LOGIN, check: bool = True, **options: object) -> str:
        """Run a command to its end, and give its output; the options are those of attempt.

        Raises
        ------
        ClusterError
            If it fails and that is checked, or if it takes too long.
        """
        outcome = self.attempt(*words, node=node, **options)
        if check and outcome.status:
            what = f"{said(words)} on {node} ended with {outcome.status}"
            raise ClusterError(f"{what}: {outcome.errors.strip()[-2000:]} {outcome.output.strip()[-2000:]}")
        return outcome.output

    def start(
        self,
        *words: str | Path,
        log: Path,
        node: str = LOGIN,
        user: str = "root",
        folder: Path | None = None,
        **environment: object,
    ) -> Command:
        """Begin a command in a session of its own; its output and errors go to the end of a log."""
        with log.open("ab") as file:
            return self._machine(node).start(
                words, user, folder or self.shared, environment, subprocess.DEVNULL, file, file
            )

    def jobs(self) -> dict[str, Job]:
        """Every job by its ID."""
        words = ("squeue", "--all", "--states=all", "--array", "--noheader", "--format=%i|%T|%N|%P|%r|%u|%j")
        return {job.id: job for job in (Job(*line.split("|", 6)) for line in self.run(*words).splitlines())}

    def wait_for_job(self, job_id: str | int, states: str | Collection[str], within_s: float) -> Job:
        """Wait until a job is in one of some states.

        Raises
        ------
        ClusterError
            If it is not within the time.
        """
        wanted, until_s = {states} if isinstance(states, str) else set(states), time.monotonic() + within_s
        while True:
            job = self.jobs().get(str(job_id))
            if job is not None and job.state in wanted:
                return job
            if time.monotonic() > until_s:
                raise ClusterError(f"job {job_id} was not {' or '.join(sorted(wanted))} within {within_s} s: {job}")
            time.sleep(0.1)

    def node_states(self) -> dict[str, str]:
        """State by node: idle, mixed, allocated, down, drained, ...; with a star when the node does not answer."""
        lines = self.run("sinfo", "--Node", "--noheader", "--format=%N|%T").splitlines()
        return dict(line.split("|") for line in lines)

    @property
    def up(self) -> bool:
        """Whether all nodes wait for jobs."""
        if not any(socket.process == "slurmctld" for socket in self.listening(LOGIN)):
            return False  # sinfo would wait a second until it asks again
        states = self.attempt("sinfo", "--Node", "--noheader", "--format=%N|%T").output.split()
        return set(states) == {f"{name}|idle" for name in NODES}

    def wait_until_up(self, within_s: float = UP_S) -> None:
        """Wait until all nodes are idle.

        Raises
        ------
        ClusterError
            If they are not within the time, or a node is off, or a daemon has ended; with the ends of the logs.
        """
        until_s = time.monotonic() + within_s
        while (wrong := self._wrong()) or not self.up:
            if wrong or time.monotonic() > until_s:
                raise ClusterError(f"the cluster is not up: {wrong or self.attempt('sinfo').output}\n{self.logs()}")
            time.sleep(0.05)

    def power_off(self, node: str) -> None:
        """Cut a node's power: everything on it is dead at once, and its files stay."""
        if node == LOGIN:
            for each in self._running_nodes():
                each.unplug()
        self._machine(node).power_off()

    def power_on(self, node: str) -> None:
        """Start a node; it is in Slurm when it is idle."""
        self._machine(node).power_on()
        if node == LOGIN:
            for each in self._running_nodes():
                each.plug_in()

    def cut_network(self, node: str) -> None:
        """Let nothing through between a node and the others; it runs on."""
        self._machine(node).set_cable("down")

    def mend_network(self, node: str) -> None:
        self._machine(node).set_cable("up")

    def drain_node(self, node: str, reason: str = "test") -> None:
        """Let a node end its jobs and take no more."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}")

    def resume_node(self, node: str) -> None:
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def processes(self, node: str, daemons: bool = True) -> list[Process]:
        """What runs on a node; without daemons, what its users and jobs have started, and what Slurm runs for these."""
        return [each for each in self._machine(node).processes() if daemons or not each.is_daemon]

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a process on a node, by its PID outside."""
        on = [machine for machine in self._machines.values() if machine.is_on]
        if pid not in [process.pid for machine in on for process in machine.processes()]:
            raise ClusterError(f"{pid} is no process of the cluster")
        os.kill(pid, number)

    def listening(self, node: str) -> list[Socket]:
        """Where a node's processes listen for TCP connections."""
        return self._machine(node).listening()

    def address(self, node: str) -> str:
        return self._machine(node).address

    def tmp(self, node: str) -> Path:
        """A node's own /tmp, as seen from outside; it outlives the node's power."""
        return self._machine(node).tmp

    def home(self, user: str) -> Path:
        """A user's home, the same on every node."""
        return self.folder / "homes" / user

    def command_line(
        self, *words: str | Path, node: str = LOGIN, user: str = "root", **environment: object
    ) -> list[str]:
        """A command line that runs a command on a node, with the terminal that is here."""
        return self._machine(node).words(words, user, self.shared, environment)

    def logs(self, characters: int = 2000) -> str:
        """The ends of what the daemons wrote."""
        found = [path for path in sorted((self.folder / "log").glob("*.log")) if path.stat().st_size]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-characters:]}" for path in found)

    def _machine(self, node: str) -> Machine:
        if node not in self._machines:
            raise ClusterError(f"no node {node}; there are {', '.join(self._machines)}")
        return self._machines[node]

    def _running_nodes(self) -> list[Machine]:
        return [self._machines[name] for name in NODES if self._machines[name].is_on]

    def _wrong(self) -> str:
        """Why waiting is of no use; empty if it may be."""
        off = [f"{name} is off" for name, machine in self._machines.items() if not machine.is_on]
        ended = [
            f"{name}: {log}" for name, machine in self._machines.items() if " ended with " in (log := machine.log())
        ]
        return "; ".join([*off, *ended])

    def _power_on_all(self) -> None:
        try:
            for machine in self._machines.values():
                machine.power_on()
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.logs()}") from error
        self.wait_until_up()

    def _power_off_all(self) -> None:
        with ExitStack() as stack:  # each, whatever happens to the others; the nodes first
            for machine in self._machines.values():
                stack.callback(machine.power_off)


@contextmanager
def slurm_cluster(
    folder: Path, accounting: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[SlurmCluster]:
    """A cluster, with all of its nodes idle.

    Parameters
    ----------
    folder
        Absent or empty; its files lie in it, and it is removed at the end.
    accounting
        Whether there is a database, so that sacct works; it takes some seconds more.
    settings
        Of slurm.conf, instead of those in slurm_files.py.

    Raises
    ------
    ClusterError
        If no cluster can be had, or if it does not come up; with the ends of the logs.
    """
    if reason := why_not(accounting):
        raise ClusterError(reason)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ClusterError(f"{folder} is not empty")
    cluster = None
    try:
        lay_out(folder, accounting, settings or {})
        cluster = SlurmCluster(folder, accounting)
        cluster._power_on_all()
        yield cluster
    finally:
        if cluster is not None:
            cluster._power_off_all()
        shutil.rmtree(folder)


def why_not(accounting: bool = False) -> str:
    """Why no cluster can be had here; empty if it can."""
    if os.geteuid() != 0:
        return "a Slurm cluster of namespaces needs root"
    programs = PROGRAMS + DATABASE_PROGRAMS * accounting
    missing = [name for name in programs if shutil.which(name, path=SYSTEM_PATH) is None]
    if missing:
        return f"no {', '.join(missing)}; on Debian: tests/slurm/install.sh"
    trial = "mount -t tmpfs none /mnt && ip link add name b type bridge && ip link add name v type veth peer name w"
    words = ["unshare", *KINDS, "--fork", "--kill-child", "sh", "-c", trial]
    done = subprocess.run(words, env={"PATH": SYSTEM_PATH}, capture_output=True, text=True, timeout=UP_S, check=False)
    return f"no namespaces, or no network or mounts in them: {done.stderr.strip()}" if done.returncode else ""


def said(words: Collection[str | Path]) -> str:
    """A command's words, for a message."""
    return " ".join(str(word) for word in words)[:200]
