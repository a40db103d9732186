"""Machines of their own on one host: namespaces for processes, network, mounts and names, joined by a switch.

A machine has its address, host name, /tmp, /run, /dev/shm and /root for itself; it sees the same files otherwise. It
dies when its first process is killed, as by a power cut, and when the process that made it is gone. The switch is a
bridge in the network of the first machine, so that the host's own network stays as it is.
"""

import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

FIRST_PROCESS = Path(__file__).with_suffix(".sh")
KINDS = ("--net", "--mount", "--uts", "--ipc", "--pid")
"""Of namespaces."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USERS = {"root": 0, "ada": 20077}
"""Who can run commands in a machine, with their user and group IDs."""

OWN_PLACES = ("/tmp", "/run", "/dev/shm", "/root")
"""What each machine has for itself."""
DAEMONS = ("munged ", "slurmd ", "slurmctld ", ": slurmscriptd", "slurmdbd ", "mariadbd ")
"""How the commands of its daemons begin."""

START_S, END_S = 120, 120
"""Bounds for a loaded host; both take some milliseconds."""


class ClusterError(Exception):
    """A machine did not come up, or what was asked of it failed."""


@dataclass(frozen=True)
class Process:
    """A process in a machine."""

    pid: int
    """As the host counts."""
    pid_inside: int
    uid: int
    command: str
    """Its words with spaces between them."""

    @property
    def is_daemon(self) -> bool:
        """Whether it belongs to the machine, and not to its users; slurmstepd, which runs a job, is none."""
        return self.command.startswith((f"bash {FIRST_PROCESS}", *DAEMONS))


@dataclass(frozen=True)
class Socket:
    """Where a process of a machine listens for TCP connections."""

    address: str
    port: int
    process: str
    """Its name."""
    pid_inside: int


class Command(subprocess.Popen):
    """A command that runs in a machine, in a session of its own.

    The process here is only how it got there, which waits for it and ends as it ends; signals go to the command itself.
    """

    @property
    def command_pid(self) -> int:
        """The command's process as the host counts; it leads its session and its process group."""
        until_s = time.monotonic() + START_S
        while self.poll() is None and time.monotonic() < until_s:
            with suppress(OSError):
                if children := Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                    return int(children[0])
            time.sleep(0.005)
        raise ProcessLookupError(f"{self.args} has ended")

    def send_signal(self, sig: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.command_pid, sig)

    def kill_group(self) -> None:
        """Kill the command, and its children that are still in its process group; it may have none yet."""
        with suppress(ProcessLookupError):
            pid = self.command_pid
            os.kill(pid, signal.SIGKILL)
            os.killpg(pid, signal.SIGKILL)


class Machine:
    """A machine, which is off at first.

    Parameters
    ----------
    folder
        What all machines of a cluster share: etc, log, homes, and the private part of each in machines.
    daemons
        What it starts after munged.
    seen
        Paths that it must see also where they are below /tmp, /run, /dev/shm or /root.
    switch
        The machine that has the bridge; it has it itself if there is none.
    """

    def __init__(
        self, name: str, address: str, folder: Path, daemons: str, seen: Sequence[Path], switch: "Machine | None" = None
    ):
        self.name, self.address = name, address
        self.tmp = folder / "machines" / name / "tmp"
        """Its /tmp, as seen from the host."""
        self._folder, self._daemons, self._seen, self._switch = folder, daemons, seen, switch
        self._host: subprocess.Popen | None = None
        self._commands: list[Command] = []
        self._pid = 0
        self.tmp.mkdir(parents=True)
        self.tmp.chmod(0o1777)

    @property
    def is_on(self) -> bool:
        return self._host is not None and self._host.poll() is None

    @property
    def pid(self) -> int:
        """Its first process, as the host counts."""
        if not self.is_on:
            raise ClusterError(f"{self.name} is off: {self.log()}")
        return self._pid

    def log(self) -> str:
        """What it said since its power was on; it says which of its daemons ended."""
        path = self._folder / "log" / f"{self.name}.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def power_on(self) -> None:
        """Start its first process, and give it a network; its daemons may still be starting afterwards."""
        if self.is_on:
            raise ClusterError(f"{self.name} is on")
        self.power_off()  # it may have ended by itself
        words = ["unshare", *KINDS, "--fork", "--kill-child", "bash", FIRST_PROCESS]
        given = [self.name, self._folder, self._daemons, *self._seen]
        with (self._folder / "log" / f"{self.name}.log").open("wb") as log:
            self._host = subprocess.Popen(
                [*words, *given],
                cwd="/",
                env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        if not select.select([self._host.stdout], [], [], START_S)[0] or not (said := self._host.stdout.readline()):
            raise ClusterError(f"{self.name} does not start: {self.log()}")
        self._pid = int(said)
        if self._switch is None:
            self._ip(
                "link set lo up",
                "link add name switch type bridge",
                f"address add {self.address}/24 dev switch",
                "link set switch up",
            )
        else:
            self._ip("link set lo up")
            self.plug_in()
        self._host.stdin.write(b"\n")
        self._host.stdin.flush()

    def plug_in(self) -> None:
        """Put a cable between it and the switch."""
        self._switch._ip(
            f"link add name {self.name} type veth peer name eth0 netns {self.pid}",
            f"link set {self.name} master switch up",
        )
        self._ip(f"address add {self.address}/24 dev eth0", "link set eth0 up")

    def unplug(self) -> None:
        """Take the cable away, if there is one."""
        if self._switch is not None and self._switch.is_on:
            with suppress(ClusterError):  # the kernel may have, with a machine that is off
                self._switch._ip(f"link delete {self.name}")

    def power_off(self) -> None:
        """Kill its first process, and with it all of its processes, at once."""
        if self._host is None:
            return
        if self.is_on:
            os.kill(self._pid or self._host.pid, signal.SIGKILL)
        self._host.wait(END_S)
        self._host.stdin.close()
        self._host.stdout.close()
        for command in self._commands:
            command.wait(END_S)
        self._host, self._pid, self._commands = None, 0, []
        self.unplug()

    def set_cable(self, state: str) -> None:
        """Set the end of its cable at the switch up or down."""
        if self._switch is None:
            raise ClusterError(f"{self.name} is the switch; cut the network of another machine")
        self._switch._ip(f"link set {self.name} {state}")

    def words(
        self, words: Sequence[str | Path], user: str, folder: Path, environment: Mapping[str, object]
    ) -> list[str]:
        """A command line that runs a command in here as a user; of this process's environment it gets PATH and LANG."""
        variables = {
            "PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}".lstrip(":"),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": self._folder / "homes" / user,
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "SLURM_CONF": "/etc/slurm/slurm.conf",
        } | environment
        way_in = [*self._way_in(), "--setuid", USERS[user], "--setgid", USERS[user]]
        given = [f"{name}={value}" for name, value in variables.items()]
        return [str(each) for each in (*way_in, "env", "--ignore-environment", f"--chdir={folder}", *given, *words)]

    def start(
        self,
        words: Sequence[str | Path],
        user: str,
        folder: Path,
        environment: Mapping[str, object],
        stdin: IO[bytes] | int,
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> Command:
        """Begin a command."""
        command = Command(
            self.words(["setsid", *words], user, folder, environment),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            umask=0o022,
        )
        self._commands = [each for each in self._commands if each.poll() is None] + [command]
        return command

    def run(
        self,
        words: Sequence[str | Path],
        user: str,
        folder: Path,
        environment: Mapping[str, object],
        stdin: str,
        timeout_s: float,
    ) -> tuple[int, str, str]:
        """Run a command; its exit status, output and errors. It may leave processes behind that hold these open."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            given.write(stdin.encode())
            given.seek(0)
            command = self.start(words, user, folder, environment, given, output, errors)
            try:
                status = command.wait(timeout_s)
            except BaseException:
                command.kill_group()
                command.wait(END_S)
                raise
            output.seek(0)
            errors.seek(0)
            return status, output.read().decode(errors="replace"), errors.read().decode(errors="replace")

    def _way_in(self) -> list[str]:
        """Words before a command that runs it in here, as root and with this process's environment."""
        return ["nsenter", f"--target={self.pid}", *KINDS]

    def processes(self) -> list[Process]:
        """What runs in here."""
        own, found = Path(f"/proc/{self.pid}/ns/pid").readlink(), []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if (entry / "ns/pid").readlink() == own:
                    found.append(read_process(entry))
        return sorted(found, key=lambda process: process.pid_inside)

    def listening(self) -> list[Socket]:
        """Where its processes listen."""
        words = ["ss", "--tcp", "--listening", "--numeric", "--processes", "--no-header"]
        done = subprocess.run([*self._way_in(), *words], capture_output=True, text=True, check=True, timeout=END_S)
        found = []
        for line in done.stdout.splitlines():
            address, _, port = line.split()[3].rpartition(":")
            for process, pid in re.findall(r'\("([^"]*)",pid=(\d+)', line) or [("", "0")]:
                found.append(Socket(address.strip("[]"), int(port), process, int(pid)))
        return found

    def _ip(self, *lines: str) -> None:
        """Run ip's commands in its network."""
        words = ["nsenter", f"--target={self.pid}", "--net", "ip", "-batch", "-"]
        text = "\n".join(lines)
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=START_S, check=False)
        if done.returncode:
            raise ClusterError(f"{self.name}: {'; '.join(lines)}: {done.stderr.strip()}")


def read_process(entry: Path) -> Process:
    """A process from its folder in /proc."""
    lines = (line.partition(":\t") for line in (entry / "status").read_text().splitlines())
    status = {name: value.split() for name, _, value in lines}
    words = (entry / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return Process(int(entry.name), int(status["NSpid"][-1]), int(status["Uid"][0]), words or status["Name"][0])
