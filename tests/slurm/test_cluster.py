"""The cluster that the other tests stand on: what its nodes share, what they do not, and how they die."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from slurm_cluster import slurm_cluster, why_not
from slurm_files import ADDRESSES
from slurm_machine import ClusterError

SOON_S = 240
"""Bound for what takes no more than some seconds on an idle machine."""


def wait_until(condition, within_s=SOON_S):
    until_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def submit(cluster, script, *options, **run):
    """Submit a script; its job's ID, and the file that it can append to as $LOG."""
    log = cluster.shared / f"log-{time.monotonic_ns()}"
    text = f"#!/bin/bash\nLOG={log}\n{script}\n"
    return cluster.run("sbatch", "--parsable", "--output=/dev/null", *options, stdin=text, **run).strip(), log


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


def requeues(cluster, job):
    """How often a job was queued again."""
    return int(re.search(r"\bRestarts=(\d+)", cluster.run("scontrol", "show", "job", job))[1])


def alive(pid):
    return Path(f"/proc/{pid}").exists()


def test_three_nodes_with_addresses_of_their_own(cluster):
    assert cluster.up
    said = cluster.run("srun", "--nodes=3", "bash", "-c", 'echo "$(hostname) $(hostname -I)"')
    assert sorted(line.split() for line in said.splitlines()) == [
        ["n1", "10.77.0.11"],
        ["n2", "10.77.0.12"],
        ["n3", "10.77.0.13"],
    ]
    for name, address in ADDRESSES.items():
        for other in ADDRESSES:
            assert cluster.run("getent", "hosts", name, node=other).split() == [address, name]


def test_jobs_share_out_the_gpus_of_a_node(cluster):
    script = 'echo "$CUDA_VISIBLE_DEVICES" >> $LOG; while [ ! -e $LOG.end ]; do sleep 0.1; done'
    submitted = [submit(cluster, script, "--gpus=1", "--nodelist=n2") for _ in range(3)]
    wait_until(lambda: [job.state for job in cluster.jobs().values()][-3:].count("RUNNING") == 2)
    wait_until(lambda: sorted(line for _, log in submitted for line in lines(log)) == ["0", "1"])
    for job, log in submitted:
        Path(f"{log}.end").touch()
        cluster.wait_for_job(job, "COMPLETED", SOON_S)


def test_a_node_has_files_of_its_own_and_shared_ones(cluster):
    words = "touch /tmp/own /dev/shm/own /run/own shared; ls /tmp/own"
    cluster.run("srun", "--nodelist=n2", "bash", "-c", words)
    assert (cluster.tmp("n2") / "own").exists()
    assert (cluster.shared / "shared").exists()
    assert not any((Path(place) / "own").exists() for place in ("/tmp", "/dev/shm", "/run"))
    for node in ("login", "n1", "n3"):
        assert cluster.run("find", "/tmp", "/dev/shm", "/run", "-maxdepth", "1", "-name", "own", node=node) == ""
        assert cluster.run("ls", "shared", node=node) == "shared\n"
    assert cluster.run("ls", "/tmp/own", node="n2") == "/tmp/own\n"


def test_a_job_of_another_user_runs_as_that_user(cluster):
    code = "import os, pathlib; print(os.getuid(), pathlib.Path.home()); open('ada', 'w').close()"
    said = cluster.run("srun", "--nodelist=n3", sys.executable, "-c", code, user="ada")
    assert said == f"20077 {cluster.home('ada')}\n"
    assert (cluster.shared / "ada").stat().st_uid == 20077
    with pytest.raises(ClusterError, match="Permission denied"):
        cluster.run("ls", cluster.home("root"), user="ada")


def test_commands_inherit_nothing_but_path_and_language(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")
    names = {line.partition("=")[0] for line in cluster.run("env", MINE="1").splitlines()}
    assert names == {"PATH", "LANG", "HOME", "USER", "LOGNAME", "SHELL", "SLURM_CONF", "MINE"}


def test_a_command_that_fails_says_why(cluster):
    with pytest.raises(ClusterError, match=r"ls /nowhere on n1 ended with 2: ls: cannot access '/nowhere'"):
        cluster.run("ls", "/nowhere", node="n1")
    assert cluster.run("ls", "/nowhere", check=False) == ""


def test_a_command_that_takes_too_long_is_killed(cluster):
    with pytest.raises(ClusterError, match=r"did not end within 0.5 s"):
        cluster.run("bash", "-c", "sleep 6001 & sleep 6002", timeout_s=0.5)
    wait_until(lambda: not [each for each in cluster.processes("login") if each.command.startswith("sleep 600")])


def test_signals_reach_the_command_itself(cluster, tmp_path):
    script = "trap 'echo interrupted; exit 7' INT; echo ready; while true; do sleep 0.05; done"
    command = cluster.start("bash", "-c", script, node="n1", log=tmp_path / "log")
    wait_until(lambda: lines(tmp_path / "log") == ["ready"])
    command.send_signal(signal.SIGINT)
    assert command.wait(SOON_S) == 7
    assert lines(tmp_path / "log") == ["ready", "interrupted"]


def test_listening_sockets_are_those_of_the_node(cluster, tmp_path):
    words = (sys.executable, "-m", "http.server", "--bind", "10.77.0.12", "8123")
    server = cluster.start(*words, node="n2", log=tmp_path / "log")
    wait_until(lambda: 8123 in [socket.port for socket in cluster.listening("n2")])
    (socket,) = [socket for socket in cluster.listening("n2") if socket.port == 8123]
    (process,) = [process for process in cluster.processes("n2") if process.pid == server.command_pid]
    assert (socket.address, socket.pid_inside) == ("10.77.0.12", process.pid_inside)
    assert 8123 not in [socket.port for node in ("login", "n1", "n3") for socket in cluster.listening(node)]
    cluster.kill(process.pid)
    assert server.wait(SOON_S) == -signal.SIGKILL
    with pytest.raises(ClusterError, match="no process of the cluster"):
        cluster.kill(os.getpid())


def test_a_cut_network_lets_nothing_through_and_the_node_runs_on(cluster):
    def reached():
        return cluster.attempt("timeout", "1", "bash", "-c", "< /dev/tcp/n2/6818").status == 0

    job, log = submit(cluster, "while true; do echo on >> $LOG; sleep 0.1; done", "--nodelist=n2")
    wait_until(lambda: lines(log))
    wait_until(reached)
    cluster.cut_network("n2")
    assert not reached()
    before = len(lines(log))
    wait_until(lambda: len(lines(log)) > before)
    cluster.mend_network("n2")
    wait_until(reached)
    cluster.run("scancel", job)
    cluster.wait_for_job(job, "CANCELLED", SOON_S)
    cluster.wait_until_up()


def test_a_drained_node_takes_no_jobs(cluster):
    cluster.drain_node("n1", "broken fan")
    job, _ = submit(cluster, "true", "--nodelist=n1")
    assert cluster.wait_for_job(job, "PENDING", SOON_S).node == ""
    wait_until(lambda: cluster.node_states() == {"n1": "drained", "n2": "idle", "n3": "idle"})
    cluster.resume_node("n1")
    assert cluster.wait_for_job(job, "COMPLETED", SOON_S).node == "n1"


@pytest.mark.slow
def test_a_preempted_job_is_warned_before_it_is_requeued(cluster):
    cluster.run("scontrol", "update", "PartitionName=low", "GraceTime=20")
    script = "trap 'echo warned $SECONDS >> $LOG' USR1\necho ready >> $LOG\nwhile true; do sleep 0.1; done"
    low, log = submit(cluster, script, "--nodelist=n1", "--cpus-per-task=4", "--signal=B:USR1")
    wait_until(lambda: lines(log) == ["ready"])
    high, _ = submit(cluster, "true", "--nodelist=n1", "--cpus-per-task=4", "--partition=high")
    wait_until(lambda: len(lines(log)) == 2)
    jobs = cluster.jobs()
    assert (jobs[low].state, jobs[high].state) == ("RUNNING", "PENDING")
    cluster.wait_for_job(high, "COMPLETED", SOON_S)
    assert lines(log)[1].startswith("warned")
    cluster.wait_for_job(low, {"PENDING", "RUNNING"}, SOON_S)
    assert requeues(cluster, low) == 1
    cluster.run("scancel", low)


@pytest.mark.slow
def test_a_job_on_a_node_without_power_is_requeued_and_the_node_comes_back(cluster, tmp_path):
    command = cluster.start("bash", "-c", "sleep 6003 & setsid sleep 6004 & wait", node="n3", log=tmp_path / "log")
    wait_until(lambda: len([each for each in cluster.processes("n3") if each.command.startswith("sleep 600")]) == 2)
    dying = [each.pid for each in cluster.processes("n3")]

    cluster.drain_node("n1")
    cluster.drain_node("n2")
    job, log = submit(cluster, 'echo "$(hostname) ${SLURM_RESTART_COUNT:-0}" >> $LOG; sleep 3600')
    wait_until(lambda: lines(log) == ["n3 0"])
    cluster.resume_node("n1")
    cluster.resume_node("n2")

    cluster.power_off("n3")
    assert not [pid for pid in dying if alive(pid)]
    assert command.returncode == -signal.SIGKILL
    wait_until(lambda: len(lines(log)) == 2)
    assert lines(log)[1] in ("n1 1", "n2 1")
    assert cluster.node_states()["n3"] == "down*"
    cluster.power_on("n3")
    wait_until(lambda: cluster.node_states()["n3"] == "idle")
    cluster.run("scancel", job)
    cluster.wait_until_up()


def test_jobs_outlive_a_reboot_of_the_controller(cluster):
    job, log = submit(cluster, "while [ ! -e $LOG.end ]; do sleep 0.1; done; echo end >> $LOG", "--nodelist=n1")
    cluster.wait_for_job(job, "RUNNING", SOON_S)
    saved, submitted_s = cluster.folder / "state" / "job_state", time.time()
    wait_until(lambda: saved.exists() and saved.stat().st_mtime > submitted_s)  # Slurm saves every few seconds
    cluster.power_off("login")
    cluster.power_on("login")
    wait_until(lambda: cluster.attempt("squeue").status == 0)
    assert cluster.jobs()[job].state == "RUNNING"
    Path(f"{log}.end").touch()
    cluster.wait_for_job(job, "COMPLETED", SOON_S)
    assert lines(log) == ["end"]


def test_sacct_tells_nothing_without_accounting(cluster):
    outcome = cluster.attempt("sacct")
    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.errors == "Slurm accounting storage is disabled\n"


def test_sacct_tells_the_states_of_jobs_with_accounting(accounting_cluster):
    cluster = accounting_cluster
    good, _ = submit(cluster, "true", user="ada")
    bad, _ = submit(cluster, "exit 3", "--gpus=1", user="ada")
    cluster.wait_for_job(good, "COMPLETED", SOON_S)
    cluster.wait_for_job(bad, "FAILED", SOON_S)
    words = ("sacct", "--allocations", "--noheader", "--parsable2", "--format=JobID,User,State,ExitCode")
    wanted = [f"{good}|ada|COMPLETED|0:0", f"{bad}|ada|FAILED|3:0"]
    wait_until(lambda: cluster.run(*words, user="ada").splitlines() == wanted)


def host():
    """What of the host a cluster could leave behind: mounts, and its network's devices."""
    return Path("/proc/self/mountinfo").read_text(), sorted(Path("/sys/class/net").iterdir())


def namespaces(pids="[0-9]*"):
    """Namespaces in which some processes are."""
    found = set()
    for entry in Path("/proc").glob(f"{pids}/ns/*"):
        with suppress(OSError):
            found.add(entry.readlink())
    return found


def test_nothing_is_left_after_the_end_and_two_can_be_up(cluster, tmp_path):
    before, mine = host(), namespaces(os.getpid())
    with suppress(KeyError), slurm_cluster(tmp_path / "second") as second:
        during = host()
        pids = [each.pid for node in ADDRESSES for each in second.processes(node)]
        theirs = set().union(*map(namespaces, pids)) - mine
        submit(second, "sleep 3600", "--nodes=3")
        assert second.run("hostname", node="n1") == cluster.run("hostname", node="n1") == "n1\n"
        raise KeyError
    assert host() == during == before
    assert len(theirs) >= 4 * 5  # kinds of namespaces for each of four machines
    assert not theirs & namespaces()
    assert not [pid for pid in pids if alive(pid)]
    assert list(tmp_path.iterdir()) == []
    assert cluster.run("hostname", node="n1") == "n1\n"


def test_a_cluster_that_cannot_start_says_why_and_leaves_nothing(cluster, tmp_path):
    before = host()
    with (
        pytest.raises(
            ClusterError,
            match=r"slurm(ctl)?d ended with 1(.|\n)*--- slurm(ctld-login|d-n[123])\.log(.|\n)*no-such-type",
        ),
        slurm_cluster(tmp_path / "second", settings={"SelectType": "select/no-such-type"}),
    ):
        pass
    assert host() == before
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_is_gone_when_the_process_that_made_it_is_killed(cluster, tmp_path):
    code = f"""if True:
        import time, pathlib, slurm_cluster
        with slurm_cluster.slurm_cluster(pathlib.Path({str(tmp_path / "second")!r})) as cluster:
            print(*(each.pid for node in {list(ADDRESSES)} for each in cluster.processes(node)), flush=True)
            time.sleep(600)
    """
    before, support = host(), Path(__file__).parents[1] / "support"
    variables = os.environ | {"PYTHONPATH": str(support)}
    owner = subprocess.Popen([sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE, text=True)
    with owner:
        pids = owner.stdout.readline().split()
        assert len(pids) >= 4 * 3  # first process, munged and a daemon of each
        owner.kill()
    wait_until(lambda: not [pid for pid in pids if alive(pid)])
    assert host() == before


def test_whoever_is_not_root_hears_why_there_is_no_cluster(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not() == "a Slurm cluster of namespaces needs root"
