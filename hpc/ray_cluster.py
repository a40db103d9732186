"""Ray's own processes: a head in this process's care, and the raylet of a worker.

Ray takes these from the environment: a token for every process, so that nobody else on a shared node can join; loopback
as the address of a head that names no other (Ray calls that switch after the systems where it is the default, and reads
it when it is first imported); no metrics, which it would show to everybody; no usage statistics; a node that is cut off
is given up after some seconds instead of a minute. Ports are free ones that the kernel gives. What a user has set for
another Ray of theirs is not for this one.
"""

import json
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc.errors import ClusterError, SlurmError
from hpc.processes import children_of, command_of, descendants_of, kill, name_of
from hpc.scratch import SHORT, Scratch
from hpc.slurm import Slurm

LOOPBACK = "127.0.0.1"
ON_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    ON_LOOPBACK: "0",
    # Where Ray has what its metrics need (ray[default]), it serves them on all of a node's addresses, without a token.
    # Those of the head cannot be switched off; on a port that there is not, they fail, and Ray goes on without.
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}

for name in ("RAY_AUTH_TOKEN", "RAY_GCS_SERVER_PORT", "RAY_REDIS_ADDRESS"):
    os.environ.pop(name, None)  # a token of another Ray comes before the one in our file; a fixed port may be taken

OBJECT_STORE_BYTES = 100 * 2**20
"""Room for messages: data comes from shared storage, not through Ray."""

WITHOUT_HEAD_S = 20
"""How long a raylet looks for a head that it cannot reach before it ends itself."""

LONGEST_WORDS = 600
"""Of Ray's own about why it does not start."""

LONGEST_SOCKET = 107
SOCKET_BELOW = len("/hpc-1234567890/ray-abcdef/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")

LONGEST_DRAIN_S = 30 * 86400.0
"""Where nobody knows when a node ends."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What Slurm sends before it kills."""


@dataclass(frozen=True)
class RayNode:
    """A node of Ray's that lives."""

    node_id: str
    address: str
    resources: Mapping[str, float]


@contextmanager
def ray_head(
    token: Path | None = None,
    *,
    address: str = LOOPBACK,
    cpus: int = 0,
    gpus: int = 0,
    resources: Mapping[str, float] | None = None,
    scratch: Path | None = None,
) -> Iterator[str]:
    """Start a Ray of our own, whose driver this process is, and stop it.

    Parameters
    ----------
    token
        A file with the secret that every process shows; one for this Ray alone when left out.
    address
        Where it listens.
    cpus, gpus, resources
        What the head's own node offers.
    scratch
        Directory for its private files; the system's for temporary files when left out.

    Yields
    ------
    Where workers join: ``address:port``.

    Raises
    ------
    ClusterError
        If it does not start, with Ray's own words, or if this process has used Ray before.
    """
    import ray
    from ray._private import ray_constants

    if address == LOOPBACK and ray_constants.ENABLE_RAY_CLUSTER:
        raise ClusterError("Ray was imported before hpc, and would not stay on loopback; import hpc.cluster first")
    if ray.is_initialized():
        raise ClusterError("this process drives a Ray already; leave that first: ray.shutdown()")

    def running(logs: Path | None = None) -> AbstractContextManager[None]:
        return _running_ray(
            room_for_sockets(scratch),
            token,
            logs,
            num_cpus=cpus,
            num_gpus=gpus,
            resources=dict(resources or {}),
            _node_ip_address=address,
        )

    try:
        with ExitStack() as ours:
            try:
                ours.enter_context(running())
            except Exception:  # noqa: BLE001  (Ray has no class for a port that was free a moment ago, say)
                ours.enter_context(running(token.parent if token else Path(tempfile.gettempdir())))
            yield ray.get_runtime_context().gcs_address
    except SystemExit as error:  # what Ray makes of SIGTERM, until its user takes the signals back
        raise KeyboardInterrupt from error


@contextmanager
def _running_ray(root: Path, token: Path | None, logs: Path | None, **settings: Any) -> Iterator[None]:
    """Start a Ray in a directory of its own, and end what it has started.

    Parameters
    ----------
    logs
        Where its logs are kept if it does not start: with its directory they would go.

    Raises
    ------
    ClusterError
        If it does not start and its logs are kept, with its own words.
    """
    import ray
    from ray._private.authentication.authentication_token_setup import AuthenticationTokenLoader, Config

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with Scratch(f"ray-{secrets.token_hex(3)}", root) as private:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token or _new_token(private.path))
        Config.initialize("")  # from the environment, which this module may have set behind Ray's own import
        AuthenticationTokenLoader.instance().reset_cache()  # of a Ray that this process had before
        try:
            try:
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(private.path),
                    **settings,
                )
            except Exception as error:
                if not logs:
                    raise
                kept = _keep_logs(private.path, logs)
                words = re.sub(rf"{re.escape(str(private.path))}/session_[^/]+/logs", str(kept), str(error))
                words = " ".join(words.split())[:LONGEST_WORDS]
                raise ClusterError(f"Ray does not start here (its logs: {kept}): {words}") from error
            yield
        finally:
            ray.shutdown()
            # one that fails to start forgets what it has started already
            ours = [child for child in children_of(os.getpid()) if str(private.path) in command_of(child)]
            kill([*ours, *(each for child in ours for each in descendants_of(child))])


def _new_token(private: Path) -> Path:
    token = private / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return token


def _keep_logs(private: Path, within: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="ray-does-not-start-", dir=within)) / "logs"  # Ray's are open to everybody
    kept.mkdir()
    for path in private.glob("session_[0-9]*/logs"):
        shutil.copytree(path, kept, dirs_exist_ok=True)
    return kept


def ray_nodes() -> list[RayNode]:
    """Nodes that live, of the Ray that this process drives."""
    import ray

    return [
        RayNode(node["NodeID"], node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]
    ]


def drain(node_id: str, within_s: float) -> None:
    """Start nothing more on a node; it leaves when what runs there has ended, or after a time [s] at the latest."""
    from ray._private.worker import global_worker
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    deadline_ms = int((time.time() + min(within_s, LONGEST_DRAIN_S)) * 1000)
    reason = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION  # the only one that a busy node accepts
    global_worker.gcs_client.drain_node(node_id, reason, "its node is handed back", deadline_ms)


class Raylet:
    """The Ray node of a worker: `ray start --block` and what it starts.

    Signals that Slurm sends to every process of a job are kept from it, so that what runs can end in good order; it is
    ended by `stop` alone.
    """

    def __init__(
        self,
        head: str,
        token: Path,
        *,
        address: str,
        cpus: int,
        gpus: int,
        memory_bytes: int | None,
        resources: Mapping[str, float],
        scratch: Path,
        log: Path,
        umask: int,
        environment: Mapping[str, str],
    ):
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
            *("--address", head, "--node-ip-address", address, "--temp-dir", str(scratch)),
            *("--num-cpus", str(cpus), "--num-gpus", str(gpus), "--resources", json.dumps(dict(resources))),
            # any free ports, rather than everybody's first
            *("--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"),
            *("--include-log-monitor", "False"),  # 42 MB of a process that would send logs to a driver which wants none
            *("--object-store-memory", str(OBJECT_STORE_BYTES)),
            *(["--memory", str(memory_bytes)] if memory_bytes else []),
        ]
        inherited = {key: value for key, value in os.environ.items() if key != ON_LOOPBACK}
        own = {
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_gcs_rpc_server_reconnect_timeout_s": str(WITHOUT_HEAD_S),
            # it would end trials when others fill the node; Slurm sees to it that a job keeps to its share
            "RAY_memory_monitor_refresh_ms": "0",
        }
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    command,
                    env={**inherited, **own, **environment},
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    umask=umask,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._has_started = False

    @property
    def is_over(self) -> bool:
        """Whether it has ended; ``ray start`` itself stays when its raylet leaves in good order."""
        if self._process.poll() is not None:
            return True
        has_raylet = any(name_of(child) == "raylet" for child in children_of(self._process.pid))
        self._has_started |= has_raylet
        return self._has_started and not has_raylet

    def stop(self) -> None:
        """End it and everything it has started."""
        started = descendants_of(self._process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        kill(started)  # raylets and trials have sessions of their own


def room_for_sockets(scratch: Path | None = None) -> Path:
    """A directory for temporary files, unless the path of Ray's sockets in it would be too long."""
    usual = scratch or Path(tempfile.gettempdir())
    return usual if len(os.fsencode(usual)) + SOCKET_BELOW <= LONGEST_SOCKET else SHORT


def address_of_this_node(slurm: Slurm, interface: str | None = None) -> str:
    """IPv4 address at which other nodes reach this one.

    Raises
    ------
    ClusterError
        If there is none but loopback.
    """
    if interface:
        return _address_of(interface)
    names = [socket.gethostname()]
    if node := os.environ.get("SLURMD_NODENAME", ""):
        with suppress(SlurmError):  # some sites hide nodes from users
            names.insert(0, slurm.node_address(node))
    for name in names:
        with suppress(OSError):
            address = socket.gethostbyname(name)
            if not address.startswith("127."):
                return address
    raise ClusterError(
        f"{socket.gethostname()} has no address but loopback by its name; "
        "name its interface: cluster: {interface: eth0}"
    )


def address_towards(other: str) -> str:
    """IPv4 address at which this node is seen from ``host:port``: that of the interface on the way there."""
    host, _, port = other.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting it sends nothing
        probe.connect((host, int(port)))
        return str(probe.getsockname()[0])


def _address_of(interface: str) -> str:
    import fcntl
    import struct

    request = 0x8915  # SIOCGIFADDR of linux/sockios.h
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), request, struct.pack("256s", interface.encode()[:15]))
        except OSError as error:
            there = ", ".join(name for _, name in socket.if_nameindex())
            raise ClusterError(f"cluster.interface: no address on {interface}; this node has {there}") from error
    return socket.inet_ntoa(answer[20:24])
