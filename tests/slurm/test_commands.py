"""Sweeps on Slurm as a person has them: an unprivileged user's commands, on a real cluster."""

import json
import os
import re
import shlex
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from slurm_sweep import (
    END_S,
    ENDLESS,
    START_S,
    SWEEP,
    VENV,
    SlurmSweep,
    assert_that_nothing_was_lost,
    assert_that_the_journal_is_sound,
)

from fishray.config.tank import TankSettings
from fishray.simulate import simulate
from fishray.store import open_store

SCRIPTS = Path(__file__).parents[2] / "slurm"
ENVIRONMENT = {"PATH": f"{VENV}/bin:{os.environ['PATH']}", "COLUMNS": "100"}
FAILED, REFUSED = 1, 2


def make(cluster, name, trials=1, search=None, **changes):
    """A sweep of ada's; all share one tank, which the first driver makes."""
    settings = SWEEP | {
        "data": SWEEP["data"] | {"store": str(cluster.shared / "tank" / "tank.zarr")},
        "families": {"lstm": SWEEP["families"]["lstm"] | {"trials": trials}},
        "search": search or {"max_epochs": 4, "scheduler": "none"},
        "cluster": SWEEP["cluster"] | {"workers": {"max": 1}} | changes,
    }
    return SlurmSweep(cluster, name, settings, user="ada")


class Person:
    """Somebody who has typed a command on the login node and looks at what it prints."""

    def __init__(self, sweep, *words):
        self.sweep = sweep
        self.log = sweep.folder / f"person-{len(list(sweep.folder.glob('person-*')))}.log"
        given = ENVIRONMENT | sweep.variables
        self.process = sweep.cluster.start(*words, log=self.log, user=sweep.user, folder=sweep.folder, **given)

    @property
    def sees(self):
        return self.log.read_text()

    def wait_to_see(self, pattern):
        return self.sweep.wait_for(f"to see {pattern}", lambda: re.search(pattern, self.sees))

    def job(self):
        """The driver's job, which the sweep remembers."""
        job = self.wait_to_see(r"The driver is job (\d+)\.")[1]
        self.sweep.drivers.append(job)
        return job

    def press_ctrl_c(self):
        self.process.send_signal(signal.SIGINT)

    def end(self):
        """Exit status of the command, once it has ended, and the last lines that it printed."""
        return self.process.wait(END_S), self.sees.splitlines()


@contextmanager
def busy(cluster):
    """All nodes are somebody else's."""
    words = ("sbatch", "--parsable", "--partition=high", "--exclusive", "--wrap=sleep 3600")
    jobs = [cluster.run(*words).strip() for _ in cluster.nodes]
    try:
        for job in jobs:
            cluster.wait_for_job(job, "RUNNING", START_S)
        yield
    finally:
        cluster.run("scancel", *jobs)


def events_of_last_driver(sweep):
    """Kinds of events since the driver began that was submitted last; none before."""
    kinds = [each["event"] for each in sweep.run.journal] if sweep.run.journal.path.exists() else []
    begun = [place for place, kind in enumerate(kinds) if kind == "sweep"]
    return kinds[begun[-1] :] if len(begun) == len(sweep.drivers) else []


def next_lines(name):
    return f"See it: fishray status runs/{name} --follow · stop it: fishray stop runs/{name}"


def cluster_files(sweep):
    """What is left in the folder of its jobs, but for its drivers' logs."""
    return sorted(each.name for each in sweep.workers_folder.iterdir() if not each.name.endswith(".log"))


@pytest.mark.slow
def test_a_sweep_is_submitted_seen_from_any_node_left_alone_and_ends_well(cluster):
    sweep = make(cluster, "seen")
    sweep.hold()
    with busy(cluster):
        person = Person(sweep, "fishray", "tune", "sweep.yaml", "--on", "slurm")
        job = person.job()
        waits = r"waits in the queue \((Resources|Priority)\)"
        person.wait_to_see(f"Job {job} {waits}")
        assert not (cluster.shared / "tank").exists()  # the driver's work
        for node in ("login", "n2"):
            first, second = sweep.command("status", "runs/seen", node=node).splitlines()
            assert re.fullmatch(f"runs/seen has not begun: its driver, job {job}, {waits}", first)
            assert (second, sweep.status) == (next_lines("seen"), 0)
        said = sweep.command("tune", "sweep.yaml")
        assert re.match(f"fishray: runs/seen is driven by job {job}, which {waits}; see it: fishray status ", said)
        assert sweep.status == REFUSED
    worker = sweep.a_busy_worker()
    node = sweep.workers("running")[worker]["node"]
    said = sweep.command("status", "runs/seen", node="n3")
    assert re.search(rf"^ workers  1 running on {node}$", said, re.MULTILINE)
    assert re.search(rf"^It runs as job {job} on n\d$", said, re.MULTILINE)
    assert f"is driven by job {job}, which runs on n" in sweep.command("tune", "sweep.yaml", "--on", "slurm")
    assert sweep.status == REFUSED
    person.press_ctrl_c()
    status, lines = person.end()
    assert (status, lines[-2:]) == (0, ["The sweep goes on.", next_lines("seen")])
    another = Person(sweep, "fishray", "status", "runs/seen", "--follow")
    sweep.let_go_on()
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    status, lines = another.end()
    assert (status, lines[-1]) == (0, "Next: fishray report runs/seen")
    assert cluster_files(sweep) == ["driver.json", "head.json"]
    said = sweep.command("tune", "sweep.yaml")
    assert (sweep.status, said.splitlines()[-1]) == (0, "(runs/seen had finished; to start over beside it: --fresh)")
    assert "persistence" in said
    assert sweep.command("status", "runs/seen").splitlines()[-1] == "Next: fishray report runs/seen"
    said = sweep.command("stop", "runs/seen")
    assert said == "runs/seen has finished: there is nothing to stop. Next: fishray report runs/seen\n"


@pytest.mark.slow
def test_stop_ends_this_run_alone_which_goes_on_by_the_command_that_it_prints(cluster):
    sweep = make(cluster, "stopped", trials=2)
    sweep.hold()
    beside = make(cluster, "beside", search=ENDLESS)
    beside.hold()
    other = cluster.run("sbatch", "--parsable", "--mem=100M", "--wrap=sleep 3600", user="ada").strip()
    words = ("fishray", "tune", "sweep.yaml")
    neighbour, person = Person(beside, *words), Person(sweep, *words)
    neighbour.job()

    def stop(*options, meanwhile=lambda: None):
        """Stop it when a trial of this driver's runs; the command that is printed to go on."""
        job = person.job()
        sweep.wait_for("a trial", lambda: "attempt" in events_of_last_driver(sweep))
        sweep.wait_for("an epoch", lambda: any(sweep.epochs().values()))
        command = Person(sweep, "fishray", "stop", "runs/stopped", *options)
        meanwhile()
        status, said = command.end()
        assert status == 0, said
        assert f"runs/stopped: ended its driver (job {job}) and 1 worker" in said
        assert sweep.jobs() == []
        assert cluster_files(sweep) == ["driver.json", "head.json"]
        assert sweep.status_now() == "interrupted"
        status, lines = person.end()
        assert (status, lines[-2]) == (FAILED, "It was stopped by the user")
        assert lines[-1] == f"It does not run. {said[-1].removeprefix('What was trained is kept. ')}"
        return shlex.split(said[-1].partition("Go on: ")[2])

    def let_epochs_end():
        sweep.wait_for("its last epochs", lambda: "stopping" in events_of_last_driver(sweep))
        sweep.let_go_on()

    person = Person(sweep, *stop("--wait", "0"))
    person = Person(sweep, *stop(meanwhile=let_epochs_end))
    assert sweep.epochs_lost() == {}
    person.job()
    status, lines = person.end()
    assert (status, lines[-1]) == (0, "Next: fishray report runs/stopped")
    assert_that_nothing_was_lost(sweep)
    assert cluster.jobs()[other].state == "RUNNING"
    beside.a_busy_worker()
    assert beside.status_now() == "running"
    cluster.run("scancel", other)
    beside.let_go_on()
    beside.stop()
    assert len(beside.drivers) == 1
    assert neighbour.end()[0] == FAILED
    assert_that_the_journal_is_sound(beside)


@pytest.mark.slow
def test_a_driver_that_waits_is_cancelled_by_stop_and_the_run_can_be_begun_again(cluster):
    sweep = make(cluster, "waiting")
    with busy(cluster):
        person = Person(sweep, "fishray", "tune", "sweep.yaml")
        job = person.job()
        cluster.wait_for_job(job, "PENDING", START_S)
        said = sweep.command("stop", "runs/waiting")
        assert said.splitlines()[-2:] == [
            f"runs/waiting: ended its driver (job {job})",
            "Go on: fishray tune sweep.yaml",
        ]
        status, lines = person.end()
        assert (status, lines[-2:]) == (
            FAILED,
            [f"Its driver, job {job}, ended before the sweep began (CANCELLED)", "Go on: fishray tune sweep.yaml"],
        )
        said = sweep.command("status", "runs/waiting")
        assert (sweep.status, said.splitlines()[0]) == (REFUSED, "fishray: runs/waiting has not begun")
        again = Person(sweep, "fishray", "tune", "sweep.yaml")
        cluster.wait_for_job(again.job(), "PENDING", START_S)
        sweep.command("stop", "runs/waiting", "--wait", "0")
        assert again.end()[0] == FAILED
    assert sweep.jobs() == []


@pytest.mark.slow
def test_a_driver_that_is_requeued_before_it_begins_is_waited_for_and_when_it_fails_its_log_is_shown(cluster):
    setup = ["mkdir begun || { echo no module named reef; exit 3; }", "sleep 3600"]
    sweep = make(cluster, "failing", setup=setup)
    person = Person(sweep, "fishray", "tune", "sweep.yaml")
    job = person.job()
    person.wait_to_see(f"Job {job} starts")
    sweep.wait_for("its first line of shell", (sweep.folder / "begun").exists)
    for node in cluster.nodes:
        cluster.drain_node(node)
    cluster.run("scontrol", "requeue", job, user="ada")
    person.wait_to_see(rf"Job {job} waits in the queue \(BeginTime\)")
    for node in cluster.nodes:
        cluster.resume_node(node)
    status, lines = person.end()
    log = sweep.workers_folder / f"driver-{job}.log"
    assert status == FAILED
    assert f"Its driver, job {job}, ended before the sweep began (FAILED); the end of its log, {log}:" in lines
    assert lines[-2] == "  no module named reef"
    assert lines[-1] == "Go on: fishray tune sweep.yaml"


def test_a_dry_run_shows_the_jobs_and_slurms_answer_and_starts_nothing(cluster):
    sweep = make(cluster, "dry", trials=5, gpus=1, cpus=2, workers={"max": 3})
    shutil.rmtree(cluster.shared / "tank", ignore_errors=True)
    before = sorted(sweep.folder.rglob("*"))
    jobs = {*cluster.jobs()}
    words = ("tune", "sweep.yaml", "--dry-run", "--set", "families.lstm.resources.gpus=0.5")
    said = sweep.command(*words)
    assert sweep.status == 0
    assert " workers        3 at first, 3 at most; each with 2 CPUs, 1 GPU, 4 GB, for 02:00:00" in said
    assert " on a worker    2 trials of lstm at once" in said
    assert " on one GPU     2 trials of lstm at once" in said
    assert said.count("#!/bin/bash") == 2
    assert "#SBATCH --gpus-per-node=1" in said
    assert len(re.findall(r"→ sbatch: Job \d+ to start at \S+ using \d processors on nodes n\d", said)) == 2
    said = sweep.command(*words, "--set", "cluster.memory_gb=64")
    assert sweep.status == FAILED
    assert "→ sbatch: allocation failure: Requested node configuration is not available" in said
    assert said.splitlines()[-1] == "Nothing was started. Slurm would refuse it; when that is mended, look again."
    assert sorted(sweep.folder.rglob("*")) == before
    assert not (cluster.shared / "tank").exists()
    assert {*cluster.jobs()} == jobs


@pytest.mark.slow
def test_the_shipped_script_runs_the_default_sweep_with_ones_sites_profile_to_the_report_of_one_machine(cluster):
    profile = cluster.home("ada") / ".config" / "fishray" / "cluster.yaml"
    sweep = make(cluster, "small", trials=3)
    sweep.hold()
    settings = {"name": "small"} | sweep.settings
    cluster.run("mkdir", "-p", profile.parent, sweep.folder / "sweeps", user="ada")
    profile.write_text(json.dumps(settings.pop("cluster")))
    (sweep.folder / "sweeps" / "small.yaml").write_text(json.dumps(settings))
    words = ("sbatch", "--parsable", "--mem=1G", "--cpus-per-task=1", SCRIPTS / "sweep.sh")
    given = ENVIRONMENT | sweep.variables
    sweep.drivers.append(cluster.run(*words, user="ada", folder=sweep.folder, **given).strip())
    sweep.a_busy_worker()
    assert f"It runs as job {sweep.drivers[0]} on n" in sweep.command("status", "runs/small")
    sweep.let_go_on()
    sweep.finish()
    profile.unlink()
    assert sweep.run.state().facts["command"] == "fishray tune sweeps/small.yaml --on slurm"
    assert sweep.run.state().facts["most_workers"] == 1
    assert [path.name for path in sweep.folder.glob("*.log")] == [f"fishray-{sweep.drivers[0]}.log"]

    def report(name):
        """All that a report says, but for where, when and for how long."""
        said = json.loads(sweep.command("report", f"runs/{name}", "--json"))
        return {key: value for key, value in said.items() if key not in ("run", "name", "updated_s", "cost")}

    sweep.command("tune", "sweeps/small.yaml", "--on", "local", "--set", "name=here", timeout_s=END_S)
    assert sweep.status == 0
    assert report("here") == report("small")
    assert [row["epochs"] for row in report("here")["rows"] if row["kind"] == "trial"] == [4, 4, 4]


@pytest.mark.slow
def test_an_array_chunks_many_recordings_into_one_store(cluster):
    folder = cluster.shared / "films"
    cluster.run("mkdir", folder, user="ada")
    names = ["one.mp4", "two.mp4", "three.mp4", "my film 4.mp4"]
    for seed, name in enumerate(names):
        simulate(folder / name, TankSettings(minutes=0.05, fish=2, height=48, width=64, seed=seed))
    (folder / "videos.txt").write_text("\n".join(names))

    def ingest(tasks):
        """What each task of an array said, by its number."""
        words = ("sbatch", "--parsable", "--wait", "--mem=1G", f"--array={tasks}", SCRIPTS / "ingest.sh")
        done = cluster.attempt(
            *words, "data/mine.zarr", "videos.txt", user="ada", folder=folder, timeout_s=END_S, **ENVIRONMENT
        )
        logs = folder.glob(f"fishray-ingest-{done.output.strip()}_*.log")
        return done.status, {int(path.stem.partition("_")[2]): path.read_text() for path in logs}

    status, said = ingest("1-4")
    assert status == 0, said
    store = open_store(folder / "data/mine.zarr")
    assert sorted(store.names) == ["my_film_4", "one", "three", "two"]
    assert {store.recording(name).frame_count for name in store.names} == {90}
    status, said = ingest("1,4-5")
    assert status != 0
    assert said[1].startswith("recording one is already there in data/mine.zarr")
    assert said[4].startswith("recording my_film_4 is already there in data/mine.zarr")
    assert said[5] == "videos.txt has nothing on line 5; it has 4 lines\n"
    assert sorted(open_store(folder / "data/mine.zarr").names) == sorted(store.names)
