"""Who else is on a node learns nothing of a sweep, and neither disturbs the other."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from slurm_cluster import CHECKOUT, LOGIN
from slurm_sweep import (
    START_S,
    SWEEP,
    SlurmSweep,
    assert_that_nothing_was_lost,
    everything_in,
    left_behind,
)
from stranger import HEALTH

STRANGER = CHECKOUT / "tests" / "support" / "stranger.py"
SOON_S = 600
SHORT = {"max_epochs": 4, "scheduler": "none"}

PLAIN_JOB = """
import ray
ray.init(address="auto", log_to_driver=False)
print(ray.get(ray.remote(lambda: 6 * 7).remote()), [node["NodeManagerAddress"] for node in ray.nodes()])
"""
"""What a colleague has who never heard of tokens."""

NODES = """
import json, sys
from ray._raylet import GcsClient
for node in GcsClient(address=sys.argv[1]).get_all_node_info().values():
    if node.state == node.ALIVE:
        print(json.dumps([node.node_manager_address, sorted(node.resources_total)]))
"""

TAKEN_PORT = """
import os, socket, sys
from hpc.ray_cluster import ray_head
from hpc.errors import ClusterError
import ray
port, start = socket.create_server(("", 0)), ray.init
os.environ["RAY_GCS_SERVER_PORT"] = str(port.getsockname()[1])

def try_once(**settings):
    try:
        start(**settings)
    finally:  # each try reads it anew
        if sys.argv[2] == "once":
            os.environ.pop("RAY_GCS_SERVER_PORT", None)

ray.init = try_once
try:
    with ray_head(address=sys.argv[1]):
        print(ray.get(ray.remote(lambda: 6 * 7).options(num_cpus=0).remote()))
except ClusterError as error:
    print(error)
print(ray.is_initialized())
"""
"""A head whose port is taken by somebody else, between its choice and its use."""
QUICKLY = {"RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_py_gcs_connect_timeout_s": "2"}
"""How long Ray looks for a head that has failed; else half a minute."""


ONE_MACHINE = """
import time
from hpc.cluster import OneMachine
import ray
with OneMachine(1, 0):
    print(ray.get(ray.remote(lambda: 6 * 7).remote()), flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def make(cluster):
    """Make a sweep whose driver and workers are all on n1, and which is held."""

    def make(name, user="root", trials=2, **changes):
        lstm = SWEEP["families"]["lstm"] | {"trials": trials}
        workers = {"cpus": 1, "memory_gb": 1.8, "sbatch": {"nodelist": "n1"}} | changes
        settings = SWEEP | {
            "families": {"lstm": lstm},
            "search": SHORT,
            "cluster": SWEEP["cluster"] | workers,
        }
        place = cluster.shared / f"{name}-s"  # with a store of its own
        place.mkdir()
        os.chown(place, cluster.home(user).stat().st_uid, -1)
        sweep = SlurmSweep(cluster, name, settings, user, place)
        sweep.hold()
        return sweep

    return make


def ours(cluster, node, user_id=0):
    """What a user's jobs have listening on a node; Slurm's own srun has no part in it."""
    slurm = ("srun", "slurmstepd")
    pids = {each.pid_inside for each in cluster.processes(node, daemons=False) if each.uid == user_id}
    return [each for each in cluster.listening(node) if each.pid_inside in pids and each.process not in slurm]


def tries(cluster, *words, user="ada", **options):
    """What a stranger got."""
    return json.loads(cluster.run(sys.executable, STRANGER, *words, user=user, timeout_s=SOON_S, **options))


def inside(path, cluster, node):
    """A path as it is called on a node."""
    tmp = cluster.tmp(node)
    return Path("/tmp") / path.relative_to(tmp) if path.is_relative_to(tmp) else path


def head_of(sweep):
    return json.loads((sweep.workers_folder / "head.json").read_text())["address"]


def token_of(sweep):
    return sweep.workers_folder / "token"


def nodes_of(sweep):
    """The nodes that a sweep's Ray consists of, with their resources."""
    given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token_of(sweep)}
    lines = sweep.cluster.run(sys.executable, "-c", NODES, head_of(sweep), user=sweep.user, **given).splitlines()
    return [json.loads(line) for line in lines]


def is_of(sweep, node):
    """Whether a node of Ray's is a sweep's head or one of its workers."""
    _, resources = node
    own = {f"worker-{job}" for job in sweep.run.state().workers}
    workers = {name for name in resources if name.startswith("worker-")}
    return workers <= own and ("CPU" not in resources or bool(workers))


@pytest.mark.slow
def test_a_stranger_learns_nothing_of_a_sweep(cluster, make, tmp_path):
    sweep = make("secret", trials=6, workers={"max": 2})
    sweep.submit("--nodelist=n1")
    sweep.a_busy_worker()
    sweep.wait_for("another", lambda: [*sweep.epochs().values()].count(1) == 2)
    address, token = head_of(sweep), token_of(sweep).read_text()

    joining = {
        name: cluster.start(
            *(sys.executable, STRANGER, "join", address), node="n2", user=user, log=tmp_path / name, **given
        )
        for name, user, given in (
            ("none", "ada", {}),
            ("none, and knows of tokens", "ada", {"RAY_AUTH_MODE": "token"}),
            ("another", "ada", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 32}),
            ("another of the same user", "root", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 32}),
        )
    }

    sockets = {node: ours(cluster, node) for node in (LOGIN, *cluster.nodes)}
    assert {node: bool(found) for node, found in sockets.items()} == {
        LOGIN: False,
        "n1": True,
        "n2": False,
        "n3": False,
    }
    ports = {f"{cluster.address('n1')}:{each.port}": each.process for each in sockets["n1"]}
    assert {"gcs_server", "raylet", "fishray"} <= set(ports.values()), ports
    answers = tries(cluster, "ask", *ports, node="n2")
    left = {(each.port, each.pid_inside) for each in ours(cluster, "n1")}
    gone = [each for each in sockets["n1"] if (each.port, each.pid_inside) not in left]
    assert {each.process for each in gone} <= {"ray::IDLE"}  # nobody else was hurt by being asked
    for port, got in answers.items():
        if int(port.partition(":")[2]) in {each.port for each in gone}:
            continue
        print(port, ports[port], got["http"], {code: len(names) for code, names in got["grpc"].items()})
        assert [status for status in got["http"].values() if status not in (401, "BadStatusLine")] == [], port
        refused = {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE"}
        assert {code: names for code, names in got["grpc"].items() if code not in refused} in (
            {},
            {"OK 0801": [HEALTH]},
        )

    paths = [sweep.run.path, *everything_in(sweep.run.path)]
    mine = ("-ignore_readdir_race", "-user", "root", "-type", "f")
    for node in (LOGIN, *cluster.nodes):
        found = [path for folder in cluster.tmp(node).glob("hpc-*") for path in everything_in(folder)]
        scratch = [inside(path, cluster, node) for path in found]
        assert len(scratch) > 20 if node == "n1" else not scratch
        memory = cluster.run("find", "/dev/shm", *mine, node=node).split()
        lines = "\n".join(map(str, [*paths, *scratch, *memory]))
        assert tries(cluster, "read", node=node, stdin=lines) == [str(sweep.run.path)]  # that there is a run, no more
        others = cluster.run("find", "/tmp", "-maxdepth", "2", *mine, node=node).split()
        assert [path for path in others if not path.startswith("/tmp/hpc-0/")] == []
    pids = [each.pid_inside for each in cluster.processes("n1") if each.uid == 0]
    environments = "\n".join(f"/proc/{pid}/environ" for pid in pids)
    assert tries(cluster, "read", node="n1", stdin=environments) == []
    assert len(tries(cluster, "read", node="n1", stdin=environments, user="root")) > 10  # that they could be

    commands = [each.command for node in (LOGIN, *cluster.nodes) for each in cluster.processes(node)]
    assert [command for command in commands if token in command] == []
    assert token_of(sweep).stat().st_mode & 0o777 == 0o600
    assert sweep.run.path.stat().st_mode & 0o777 == 0o700
    assert places_of(token, cluster.folder) == [token_of(sweep)]

    for name, command in joining.items():
        command.wait(SOON_S)
        got = json.loads((tmp_path / name).read_text().splitlines()[-1])
        print(name, got["error"], round(got["after_s"], 1))
        at_once = name == "none, and knows of tokens"
        assert got["error"] == ("AuthenticationError" if at_once else "ConnectionError")

    sweep.let_go_on()
    sweep.finish()
    assert left_behind(sweep) == []
    assert_that_nothing_was_lost(sweep)


def places_of(secret, folder):
    """Files that contain something."""
    found = []
    for path in everything_in(folder):
        if path.is_file() and not path.is_symlink():
            try:
                if secret.encode() in path.read_bytes():
                    found.append(path)
            except FileNotFoundError:
                continue
    return found


@pytest.mark.slow
def test_another_users_plain_ray_before_and_behind_ours(cluster, make):
    sweep = make("ours", workers={"max": 1})

    def plain(*words):
        return cluster.run(*words, node="n1", user="ada", timeout_s=SOON_S, folder=cluster.home("ada"))

    def theirs_left():
        return [each for each in cluster.processes("n1", daemons=False) if each.uid != 0]

    def rays(user_id):
        """What a user's Ray consists of, but for its workers, which come and go."""
        found = [each for each in cluster.processes("n1", daemons=False) if each.uid == user_id]
        return {each.pid for each in found if each.command.split()[0].endswith(("raylet", "gcs_server"))}

    start = (sys.executable, "-m", "ray.scripts.scripts", "start", "--head")
    job = (sys.executable, "-c", PLAIN_JOB)
    theirs = f"42 ['{cluster.address('n1')}']"
    stop = (sys.executable, "-m", "ray.scripts.scripts", "stop", "--force")

    plain(*start)  # theirs is first, with all of Ray's default ports
    sweep.submit("--nodelist=n1")
    sweep.a_busy_worker()
    mine = rays(0)
    assert len(mine) == 3
    assert plain(*job).splitlines()[-1] == theirs
    assert all(is_of(sweep, node) for node in nodes_of(sweep))
    plain(*stop)
    sweep.wait_for("the end of theirs", lambda: not theirs_left())
    plain(*start)  # now ours is
    assert plain(*job).splitlines()[-1] == theirs
    assert rays(0) >= mine
    assert len(nodes_of(sweep)) == 2
    other = rays(cluster.home("ada").stat().st_uid)
    assert len(other) == 2
    sweep.let_go_on()
    sweep.finish()
    assert rays(cluster.home("ada").stat().st_uid) >= other
    assert plain(*job).splitlines()[-1] == theirs
    plain(*stop)
    sweep.wait_for("the end of theirs", lambda: not theirs_left())
    sweep.cluster.run("rm", "-r", "/tmp/ray", node="n1")
    assert left_behind(sweep) == []
    assert_that_nothing_was_lost(sweep)


@pytest.mark.slow
def test_two_users_sweep_on_one_node_at_a_time(cluster, make):
    sweeps = [make(f"of-{user}", user, workers={"max": 1}) for user in ("root", "ada")]
    for sweep in sweeps:
        sweep.submit("--nodelist=n1")
    for sweep in sweeps:
        sweep.a_busy_worker()
    for sweep in sweeps:
        nodes = nodes_of(sweep)
        assert len(nodes) == 2
        assert all(is_of(sweep, node) for node in nodes)
        assert {node for node, _ in nodes} == {cluster.address("n1")}
    assert len({token_of(sweep).read_text() for sweep in sweeps}) == 2
    for sweep in sweeps:
        sweep.let_go_on()
    for sweep in sweeps:
        sweep.finish()
        assert_that_nothing_was_lost(sweep)
    assert left_behind(sweeps[0]) == left_behind(sweeps[1]) == []


@pytest.mark.slow
def test_a_ray_of_one_machine_is_on_loopback_alone(cluster, tmp_path):
    words = (sys.executable, "-c", ONE_MACHINE)
    command = cluster.start(*words, node="n3", user="ada", log=tmp_path / "log", PYTHONPATH=CHECKOUT)
    until_s = time.monotonic() + SOON_S
    while "42\n" not in (tmp_path / "log").read_text():
        assert time.monotonic() < until_s, (tmp_path / "log").read_text()
        time.sleep(0.1)
    user_id = cluster.home("ada").stat().st_uid
    assert {each.address.removeprefix("::ffff:") for each in ours(cluster, "n3", user_id)} == {"127.0.0.1"}
    command.send_signal(signal.SIGINT)
    command.wait(SOON_S)
    wait_until_nothing_is_left(cluster, "n3")


def wait_until_nothing_is_left(cluster, node):
    until_s = time.monotonic() + START_S
    while left := [*cluster.processes(node, daemons=False), *cluster.tmp(node).glob("hpc-*/*")]:
        assert time.monotonic() < until_s, left
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("times", ["once", "twice"])
def test_a_port_that_is_taken_meanwhile(cluster, times):
    words = (sys.executable, "-c", TAKEN_PORT, cluster.address("n2"), times)
    before_s = time.monotonic()
    said = cluster.run(*words, node="n2", user="ada", timeout_s=SOON_S, PYTHONPATH=CHECKOUT, **QUICKLY).splitlines()
    print(round(time.monotonic() - before_s, 1), "s")
    kept = list(cluster.tmp("n2").glob("ray-does-not-start-*"))
    assert said[-1] == "False"
    if times == "once":
        assert said[-2] == "42"
        assert kept == []
    else:
        assert said[-2].startswith(
            f"Ray does not start here (its logs: /tmp/{kept[0].name}/logs): Failed to start GCS. "
        )
        assert "Failed to start the grpc server" in said[-2]
        assert "Failed to start the grpc server" in (kept[0] / "logs" / "gcs_server.out").read_text()
        assert kept[0].stat().st_mode & 0o777 == 0o700
        cluster.run("rm", "-r", f"/tmp/{kept[0].name}", node="n2")
    wait_until_nothing_is_left(cluster, "n2")
