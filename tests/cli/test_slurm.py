"""What a person sees of a sweep on Slurm, and what is asked of Slurm, where a stand-in answers for it."""

import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from fishray import cli
from fishray.cli import driver_job, following, slurm
from fishray.cli.driver_job import DriverNote, cluster_folder, driver_jobs, is_driver, refuse_driven, wait_until_unused
from fishray.cli.slurm import describe_workers, stop_run, submit_and_follow
from fishray.config.loader import load_sweep
from fishray.config.sweep import Sweep
from fishray.errors import RunError
from fishray.runs import Run, leased
from fishray.runs.directory import provenance
from fishray.runs.lease import Holder, last_holder, lease_path
from hpc.errors import SlurmError
from hpc.slurm import Slurm

SCRIPTS = Path(__file__).parents[2] / "slurm"
PATH = Path("runs/tiny")
FOLDER = "cluster"
SWEEP = {
    "name": "tiny",
    "data": {"store": "data/tank.zarr", "simulate": {"minutes": 1}},
    "labels": {"horizon": 15, "range_threshold": "auto"},
    "families": {"lstm": {"model": "lstm", "trials": 5, "resources": {"cpus": 1, "gpus": 0}}},
    "search": {"max_epochs": 3},
    "cluster": {"workers": {"max": 4}, "cpus": 2, "memory_gb": 4, "time": "00:20:00"},
}
FACTS = {
    "recordings": [{"name": "tank", "fps": 30.0, "frames": 1800}],
    "positives": 0.131,
    "duration_s": 60.0,
    "cpus": 2,
    "gpus": 0,
    "most_workers": 4,
    "fingerprint": "3f9a0c11d2c2",
    "store": "tank.zarr",
    "host": "n7",
    "pid": 4321,
    "command": "fishray tune tiny.yaml --on slurm",
}
GO_ON = "Go on: fishray tune tiny.yaml --on slurm"
NEXT = "See it: fishray status runs/tiny --follow · stop it: fishray stop runs/tiny"


@dataclass
class Queue:
    """A Slurm whose queue is what a test makes of it."""

    jobs: dict = field(default_factory=dict)
    """What squeue prints of each, behind its number."""
    looks: int = 0
    at_look: dict = field(default_factory=dict)
    """What happens just before squeue answers for the n-th time."""
    asked: list = field(default_factory=list)
    """Commands that change something."""
    on_signal: object = None
    refuses: str = ""

    def add(self, job_id, state, reason="None", node="", comment="(null)"):
        self.jobs[job_id] = f"{state}|2026-11-25T12:00:00|{node}|{reason}|{comment}"

    def end(self, job_id, state="CANCELLED"):
        self.jobs[job_id] = re.sub("^[A-Z]+", state, self.jobs[job_id])

    def __call__(self, command, given):
        if command[0] == "squeue":
            self.looks += 1
            self.at_look.get(self.looks, lambda: None)()
            return "\n".join(f"{job_id}|{rest}" for job_id, rest in self.jobs.items())
        if "--test-only" in command:
            if self.refuses:
                raise SlurmError(self.refuses)
            return "sbatch: Job 13 to start at 2026-11-25T12:00:00 using 1 processors on nodes n1\n"
        if command[0] == "sacct":
            raise SlurmError("sacct: Slurm accounting storage is disabled")
        self.asked.append((*command, given))
        if command[0] == "sbatch":
            assert Path(re.search("--output=(.*)/driver-%j.log", given)[1]).is_dir()  # else the job ends without a word
            self.add("12", "PENDING", "Priority", comment=re.search("--comment='(.*)'", given)[1])
            return "12\n"
        if "--signal=INT" in command:
            (self.on_signal or (lambda _: None))(command[-1])
        elif command[0] == "scancel":
            for job_id in command[2:]:
                self.end(job_id)
        return ""

    @property
    def cancelled(self):
        return [job for words in self.asked if words[0] == "scancel" and "--batch" not in words for job in words[2:-1]]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder and a home of this test's own, in no job, where looking at a queue takes no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # which main sets, for itself alone here
    for name in ("XDG_CONFIG_HOME", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(following, "QUEUE_EVERY_S", 0.01)
    monkeypatch.setattr(slurm, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(slurm, "APART_S", 0.05)
    monkeypatch.setattr(slurm, "AT_ONCE_S", 0.05)
    Path("tiny.yaml").write_text(json.dumps(SWEEP))  # JSON is YAML
    return tmp_path


@pytest.fixture
def queue():
    return Queue()


@pytest.fixture
def slurm_of(queue):
    return Slurm(queue)


@pytest.fixture
def sweep():
    return load_sweep(Path("tiny.yaml"))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100)


@pytest.fixture
def folder(here):
    """The folder of a run's jobs, as they name it."""
    return here / PATH / FOLDER


@pytest.fixture
def make_run(sweep):
    """Make a run whose driver began, as a process of node n7, in job 12 unless told otherwise."""

    def make(*events, job_id="12", host="n7", pid=4321):
        run = Run.claim(PATH)
        run.write_sweep(sweep, provenance("fingerprint"))
        run.journal.append("sweep", **FACTS)
        for event, facts in events:
            run.journal.append(event, **facts)
        if job_id:
            DriverNote(job_id, FACTS["command"], host, pid).write(cluster_folder(PATH))
        return run

    return make


def finished(status="finished", reason=""):
    return ("finish", {"status": status, "reason": reason})


def said(console):
    return console.file.getvalue()


@pytest.fixture
def fishray(monkeypatch, capsys):
    """Run a command line in this process; its exit status, and what it printed on either stream."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fishray", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def without_slurm(monkeypatch, here):
    """No command of Slurm's on PATH."""
    monkeypatch.setenv("PATH", str(here))


# Which jobs drive a run


def test_a_driver_is_known_by_the_runs_note_and_by_its_name_in_the_queue(queue, slurm_of, folder):
    DriverNote("12").write(folder)
    queue.add("11", "RUNNING", comment=f"driver of {folder}")  # submitted by one who died before it could note it
    queue.add("12", "PENDING", "Resources")
    queue.add("13", "RUNNING", comment=f"driver of {folder.parents[1]}/other/cluster")
    queue.add("14", "RUNNING", comment=str(folder))  # a worker
    queue.add("15", "COMPLETED", comment=f"driver of {folder}")
    assert [job.job_id for job in driver_jobs(folder, slurm_of)] == ["11", "12"]


@pytest.mark.parametrize(
    ("state", "reason", "node", "words"),
    [
        ("PENDING", "QOSMaxGRESPerUser", "", "waits in the queue (QOSMaxGRESPerUser)"),
        ("PENDING", "None", "", "waits in the queue"),
        ("RUNNING", "None", "n3", "runs on n3"),
    ],
)
def test_a_second_start_is_refused_and_the_job_is_named(queue, slurm_of, state, reason, node, words):
    path = Path("my runs/tiny")
    DriverNote("12").write(cluster_folder(path))
    queue.add("12", state, reason, node)
    with pytest.raises(RunError) as refused:
        refuse_driven(path, slurm_of)
    assert str(refused.value) == (
        f"my runs/tiny is driven by job 12, which {words}; see it: fishray status 'my runs/tiny' --follow"
    )


@pytest.mark.parametrize(
    ("job_id", "has_terminal", "drives"), [(None, False, False), ("12", False, True), ("12", True, False)]
)
def test_only_a_job_at_which_nobody_sits_drives_the_sweep_itself(monkeypatch, job_id, has_terminal, drives):
    if job_id:
        monkeypatch.setenv("SLURM_JOB_ID", job_id)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: has_terminal))
    assert is_driver() is drives


def test_a_driver_notes_its_job_its_process_and_what_to_type(monkeypatch, sweep, folder):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    driver_job.open_workers(sweep, PATH, "fishray tune tiny.yaml")
    note = DriverNote.read(folder)
    assert (note.job_id, note.command) == ("12", "fishray tune tiny.yaml")
    assert (note.host, note.pid) == (socket.gethostname(), os.getpid())
    assert (folder / "driver.json").stat().st_mode & 0o077 == 0


def test_the_lease_of_a_driver_before_us_is_waited_for_and_that_is_said_once(monkeypatch, slurm_of, capsys):
    monkeypatch.setattr(driver_job, "LOOK_EVERY_S", 0.01)
    Run.claim(PATH)
    looks = []

    def refuse(_):
        looks.append(1)
        if len(looks) < 4:
            raise RunError("runs/tiny is in use on n7, process 4321")

    monkeypatch.setattr("fishray.runs.lease.refuse_in_use", refuse)
    wait_until_unused(PATH, slurm_of)
    assert capsys.readouterr().out == "runs/tiny is in use on n7, process 4321; waiting for that\n"


@pytest.mark.parametrize(
    ("state", "ours", "given_up"),
    [("FAILED", "12", True), (None, "12", True), ("RUNNING", "11", True), ("RUNNING", "12", False)],
    ids=["it failed", "it was forgotten", "it is ours, queued again", "it runs"],
)
def test_a_driver_on_another_node_is_given_up_at_once_if_its_job_is_over(
    monkeypatch, queue, slurm_of, folder, state, ours, given_up
):
    monkeypatch.setattr("fishray.runs.lease.SILENT_S", 0.3)
    monkeypatch.setattr(driver_job, "LOOK_EVERY_S", 0.01)
    monkeypatch.setenv("SLURM_JOB_ID", ours)
    path = Run.claim(PATH).path
    lease_path(path, 1).write_text(json.dumps(asdict(Holder(1, "n7", 4321, "another boot", "1"))))
    DriverNote("11", host="n7", pid=4321).write(folder)
    if state:
        queue.add("11", state)
    wait_until_unused(PATH, slurm_of)
    assert last_holder(path).released is given_up


# Submit and follow


def test_a_driver_that_waits_is_shown_with_the_queues_reason_and_one_that_fails_with_its_log(
    queue, slurm_of, sweep, console, folder, capsys
):
    queue.at_look[3] = lambda: queue.add("12", "PENDING", "Resources")
    queue.at_look[5] = lambda: queue.add("12", "RUNNING", node="n7")
    queue.at_look[7] = lambda: ((folder / "driver-12.log").write_text("one\n\ntwo\n"), queue.end("12", "FAILED"))
    assert submit_and_follow(sweep, PATH, ["tune", "tiny.yaml", "--set", "seed=0 "], slurm_of, console) == 1
    assert capsys.readouterr().out == "The driver is job 12. Ctrl-C leaves it alone: the sweep goes on.\n"
    assert said(console).splitlines() == [
        "Job 12 waits in the queue (Priority)",
        "Job 12 waits in the queue (Resources)",
        "Job 12 starts",
        f"Its driver, job 12, ended before the sweep began (FAILED); the end of its log, {folder}/driver-12.log:",
        "  one",
        "  two",
        "Go on: fishray tune tiny.yaml --set 'seed=0 '",
    ]
    assert [words[0] for words in queue.asked] == ["sbatch"]


def test_a_driver_that_is_queued_again_before_it_began_is_waited_for(queue, slurm_of, sweep, console):
    queue.at_look[3] = lambda: queue.add("12", "RUNNING", node="n7")
    queue.at_look[5] = lambda: queue.add("12", "PENDING", "BeginTime")
    queue.at_look[7] = lambda: queue.jobs.clear()  # and forgotten
    assert submit_and_follow(sweep, PATH, ["tune", "tiny.yaml"], slurm_of, console) == 1
    assert said(console).splitlines() == [
        "Job 12 waits in the queue (Priority)",
        "Job 12 starts",
        "Job 12 waits in the queue (BeginTime)",
        "Its driver, job 12, ended before the sweep began",
        "Go on: fishray tune tiny.yaml",
    ]


def test_ctrl_c_leaves_a_driver_that_waits_alone(queue, slurm_of, sweep, console):
    def press():
        raise KeyboardInterrupt

    queue.at_look[3] = press
    assert submit_and_follow(sweep, PATH, ["tune", "tiny.yaml"], slurm_of, console) == 0
    assert said(console) == f"Job 12 waits in the queue (Priority)\nThe sweep goes on.\n{NEXT}\n"
    assert queue.cancelled == []


def test_a_controller_that_does_not_answer_for_a_while_is_asked_again(queue, slurm_of, sweep, console):
    def fail():
        raise SlurmError("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")

    queue.at_look |= {3: fail, 4: fail, 5: lambda: queue.end("12")}
    assert submit_and_follow(sweep, PATH, ["tune", "tiny.yaml"], slurm_of, console) == 1
    assert said(console).splitlines()[1] == "Its driver, job 12, ended before the sweep began (CANCELLED)"


@pytest.mark.parametrize(
    ("events", "status", "words"),
    [
        ([finished()], 0, ["Next: fishray report runs/tiny"]),
        ([finished("failed", "every trial failed")], 1, ["Next: fishray report runs/tiny"]),
        ([finished("interrupted", "stopped by the user")], 1,
         ["It was stopped by the user", f"It does not run. {GO_ON}"]),
        ([finished("interrupted", "sbatch: error: no")], 1,
         ["It stopped: sbatch: error: no", f"It does not run. {GO_ON}"]),
        ([], 1, ["Its driver, job 12, has ended (OUT_OF_MEMORY)", GO_ON]),
    ],
    ids=["finished", "failed", "stopped", "no workers", "killed"],
)  # fmt: skip
def test_how_a_sweep_ended_between_two_looks_is_told_with_what_to_type(
    queue, slurm_of, sweep, console, make_run, events, status, words
):
    queue.at_look[3] = lambda: (make_run(*events), queue.end("12", "OUT_OF_MEMORY"))
    assert submit_and_follow(sweep, PATH, ["tune", "tiny.yaml"], slurm_of, console) == status
    lines = said(console).splitlines()
    assert lines[1].startswith("tiny · tank.zarr (1 recording, 1:00 min")
    assert lines[-len(words) :] == words


def test_a_sweep_is_followed_from_its_beginning_and_again_when_its_driver_was_queued_again(
    queue, slurm_of, sweep, console, make_run, monkeypatch
):
    at_work, run = [], Run(PATH)

    def begin():
        make_run()
        at_work.append("n7")
        queue.add("12", "RUNNING", node="n7")

    def end(run, _):
        status = "finished" if queue.looks > 4 else "interrupted"
        run.journal.append("finish", status=status, reason="stopped by SIGUSR1")
        at_work.clear()
        queue.add("12", "PENDING", "BeginTime")
        return run.state()

    monkeypatch.setattr(Run, "holder", lambda _: at_work[0] if at_work else None)
    monkeypatch.setattr("fishray.report.live.follow_run", end)
    queue.at_look |= {2: begin, 5: begin}
    assert submit_and_follow(sweep, PATH, ["tune", "tiny.yaml"], slurm_of, console) == 0
    assert said(console).splitlines() == [
        "Job 12 starts",
        "Job 12 waits in the queue (BeginTime)",
        "Job 12 starts",
        "Next: fishray report runs/tiny",
    ]
    assert run.state().status == "finished"


def test_a_worker_that_slurm_would_refuse_is_warned_of_at_submission(queue, slurm_of, sweep, console, capsys):
    queue.refuses = "sbatch: allocation failure: Requested node configuration is not available"
    queue.at_look[2] = lambda: queue.end("12")
    submit_and_follow(sweep, PATH, ["tune", "tiny.yaml", "--on", "slurm"], slurm_of, console)
    assert capsys.readouterr().out.splitlines()[0] == (
        f"warning: Slurm says of a worker: {queue.refuses}; look closer: fishray doctor tiny.yaml --on slurm"
    )


# status


def status_of(queue, console, **options):
    return following.show(PATH, Slurm(queue), console, **options)


def test_a_run_whose_driver_waits_says_so_with_the_reason(queue, console, folder):
    DriverNote("12").write(folder)
    queue.add("12", "PENDING", "Priority")
    assert status_of(queue, console) == 0
    assert said(console) == f"runs/tiny has not begun: its driver, job 12, waits in the queue (Priority)\n{NEXT}\n"


def test_a_run_whose_driver_ended_before_it_began_is_an_error_with_the_log(queue, console, folder):
    DriverNote("12", "fishray tune tiny.yaml", log=str(folder / "driver-12.log")).write(folder)
    (folder / "driver-12.log").write_text("module: command not found\n")
    queue.add("12", "FAILED")
    with pytest.raises(RunError) as error:
        status_of(queue, console)
    assert str(error.value).splitlines() == [
        "runs/tiny has not begun",
        f"Its driver, job 12, ended before the sweep began (FAILED); the end of its log, {folder}/driver-12.log:",
        "  module: command not found",
        "Go on: fishray tune tiny.yaml",
    ]


def test_a_run_that_runs_is_shown_with_its_job(queue, console, make_run):
    make_run()
    queue.add("12", "RUNNING", node="n7")
    with leased(PATH):
        assert status_of(queue, console) == 0
    lines = said(console).splitlines()
    assert lines[0].startswith("tiny · tank.zarr")
    assert lines[-2:] == ["It runs as job 12 on n7", NEXT]


def test_a_run_whose_driver_is_queued_again_says_why_it_waits(queue, console, make_run):
    make_run(finished("interrupted", "stopped by SIGUSR1"))
    queue.add("12", "PENDING", "BeginTime")
    assert status_of(queue, console) == 0
    assert said(console).splitlines()[-2:] == ["Its driver, job 12, waits in the queue (BeginTime)", NEXT]


def test_a_driver_that_was_killed_is_known_to_be_dead_before_its_lease_is(queue, console, make_run, folder):
    make_run(host=socket.gethostname(), pid=os.getpid())
    queue.add("12", "NODE_FAIL")
    queue.add("13", "RUNNING", comment=str(folder))
    with leased(PATH):
        assert status_of(queue, console) == 0
    lines = said(console).splitlines()
    assert "died after" in " ".join(lines)
    assert lines[-3:] == [
        "Its driver, job 12, has ended (NODE_FAIL)",
        "1 worker of it may wait for the next; to end that: fishray stop runs/tiny",
        GO_ON,
    ]


def test_a_run_is_shown_also_while_the_queue_cannot_be_asked(queue, console, make_run):
    def fail():
        raise SlurmError("slurm_load_jobs error: Unable to contact slurm controller")

    make_run(finished())
    queue.at_look[1] = fail
    assert status_of(queue, console) == 0
    lines = said(console).splitlines()
    assert lines[0] == "The queue cannot be asked: slurm_load_jobs error: Unable to contact slurm controller"
    assert lines[-1] == "Next: fishray report runs/tiny"


def test_a_run_that_never_was_on_slurm_asks_no_queue(fishray, make_run, without_slurm):
    make_run(finished(), job_id=None)
    status, output, _ = fishray("status", PATH)
    assert (status, output.splitlines()[-1]) == (0, "Next: fishray report runs/tiny")


# stop


def stop(queue, console, wait_s=0):
    return stop_run(PATH, wait_s, Slurm(queue), console)


def neighbours(queue, folder):
    """Jobs of the same user that are none of this run's."""
    queue.add("30", "RUNNING", comment=f"{folder.parents[1]}/other/cluster")
    queue.add("31", "RUNNING", comment=f"driver of {folder.parents[1]}/other/cluster")
    queue.add("32", "RUNNING", comment=f"{folder}2")
    queue.add("33", "PENDING", "Priority")


def test_stop_ends_the_jobs_of_this_run_and_no_others_and_leaves_it_to_be_gone_on_with(
    queue, console, make_run, folder
):
    make_run()
    (folder / "jobs").mkdir()
    (folder / "token").write_text("secret")
    queue.add("12", "RUNNING", node="n7")
    queue.add("20", "RUNNING", comment=str(folder))
    queue.add("21", "PENDING", "Resources", comment=str(folder))
    neighbours(queue, folder)

    def end_in_good_order(job_id):
        Run(PATH).journal.append("finish", status="interrupted", reason="stopped by the user")
        queue.end(job_id, "FAILED")

    queue.on_signal = end_in_good_order
    assert stop(queue, console, wait_s=5) == [
        "runs/tiny: ended its driver (job 12) and 2 workers",
        f"What was trained is kept. {GO_ON}",
    ]
    assert ("scancel", "--quiet", "--signal=INT", "--batch", "12", "") in queue.asked
    assert sorted(queue.cancelled) == ["20", "21"]
    assert [path.name for path in folder.iterdir()] == ["driver.json"]
    assert said(console).splitlines() == ["Job 12 ends with the running epochs, within 5 s", "Ending its workers"]


def test_stop_cancels_a_driver_that_does_not_listen(queue, console, make_run, folder):
    make_run()
    queue.add("12", "RUNNING", node="n7")
    neighbours(queue, folder)
    assert stop(queue, console)[0] == "runs/tiny: ended its driver (job 12)"
    assert [words[2] for words in queue.asked] == ["--signal=INT", "--signal=INT", "12"]
    assert said(console).splitlines() == ["Job 12 ends at once", "Cancelling job 12"]


def test_stop_cancels_a_driver_that_waits_without_asking_it(queue, console, folder):
    DriverNote("12", FACTS["command"]).write(folder)
    queue.add("12", "PENDING", "Resources")
    neighbours(queue, folder)
    assert stop(queue, console, wait_s=60) == ["runs/tiny: ended its driver (job 12)", GO_ON]
    assert queue.cancelled == ["12"]
    assert Run.claim(PATH)  # as a new one would be


def test_stop_says_that_there_is_nothing_to_stop(queue, console, make_run, folder):
    make_run(finished())
    neighbours(queue, folder)
    assert stop(queue, console) == ["runs/tiny has finished: there is nothing to stop. Next: fishray report runs/tiny"]
    Run(PATH).journal.append("finish", status="interrupted", reason="stopped by the user")
    assert stop(queue, console) == [
        "runs/tiny does not run: there is nothing to stop",
        f"What was trained is kept. {GO_ON}",
    ]
    assert queue.cancelled == []


def test_stop_ends_workers_that_a_killed_driver_has_left(queue, console, make_run, folder):
    make_run(host=socket.gethostname(), pid=os.getpid())
    queue.add("12", "NODE_FAIL")
    queue.add("20", "RUNNING", comment=str(folder))
    with leased(PATH):
        assert stop(queue, console)[0] == "runs/tiny: ended 1 worker"
    assert queue.cancelled == ["20"]


@pytest.mark.parametrize("job_id", [None, "12"])
def test_stop_refuses_a_run_that_runs_outside_of_slurm(queue, console, make_run, job_id):
    make_run(job_id=job_id)
    with leased(PATH) as lease, pytest.raises(RunError) as refused:
        stop(queue, console)
    assert str(refused.value) == (
        f"runs/tiny runs outside of Slurm, on {lease.holder}; stop it there: Ctrl-C, or kill -TERM {os.getpid()}"
    )
    assert queue.asked == []


def test_stop_of_what_is_no_run_says_so(queue, console):
    with pytest.raises(RunError, match="no run at runs/tiny"):
        stop(queue, console)


# Before anything is submitted


def workers_of(families, **cluster):
    settings = SWEEP | {"families": families, "cluster": SWEEP["cluster"] | cluster}
    return describe_workers(Sweep.model_validate_json(json.dumps(settings)))


def family(trials, **resources):
    return {"model": "lstm", "trials": trials, "resources": resources}


def test_a_dry_run_counts_workers_and_what_each_of_them_holds():
    assert workers_of({"lstm": family(5, cpus=1, gpus=0)}) == [
        " workers        3 at first, 4 at most; each with 2 CPUs, no GPU, 4 GB, for 00:20:00",
        " on a worker    2 trials of lstm at once",
    ]


def test_a_dry_run_counts_trials_on_a_gpu():
    families = {"small": family(20, cpus=1, gpus=0.25), "whole": family(2, cpus=4, gpus=1), "two": family(1, gpus=2)}
    # 16 CPUs and 2 GPUs hold eight quarters; a whole one leaves room for four, and the pair needs a worker alone.
    assert workers_of(families, cpus=16, gpus=2, workers={"min": 1, "max": 20}) == [
        " workers        5 at first, 20 at most; each with 16 CPUs, 2 GPUs, 4 GB, for 00:20:00",
        " on a worker    8 trials of small or 2 trials of whole or 1 trial of two at once",
        " on one GPU     4 trials of small or 1 trial of whole at once",
    ]


def test_workers_that_are_kept_in_any_case_are_counted():
    assert workers_of({"lstm": family(1, cpus=1)}, workers={"min": 2, "max": 4})[0].startswith(
        " workers        2 at first"
    )


def test_a_dry_run_without_slurm_shows_the_jobs_and_makes_nothing_not_even_the_tank(fishray, without_slurm, here):
    before = sorted(here.rglob("*"))
    status, output, errors = fishray("tune", "tiny.yaml", "--dry-run")
    assert (status, errors) == (0, "")
    assert sorted(here.rglob("*")) == before
    assert output.splitlines()[:3] == [
        "tiny · seed 0 · 5 trials of lstm",
        " data           data/tank.zarr is not there yet: the driver simulates it first",
        " rungs          1 → 3 epochs, by validation auc",
    ]
    assert (
        " forecast       none, as nothing is trained on this node; on a compute node: fishray bench tiny.yaml" in output
    )
    assert output.count("  → there is no Slurm here to ask") == 2
    assert f"  exec {Path(sys.executable).with_name('fishray')} tune tiny.yaml\n" in output
    assert f"  #SBATCH --comment={here / PATH / FOLDER}\n" in output
    assert output.splitlines()[-1] == "Nothing was started. Leave out --dry-run to run it."


def test_the_drivers_job_has_the_command_line_that_was_typed(fishray, without_slurm):
    Path("my site.yaml").write_text("{gpus: 0, workers: {max: 2}}")
    Path("my sweep.yaml").write_text(json.dumps(SWEEP))
    words = ["tune", "my sweep.yaml", "--set", "families.lstm.fixed={hidden: 4}", "--runs", "my runs"]
    words += ["--on", "slurm", "--cluster", "my site.yaml"]
    _, output, _ = fishray(*words, "--dry-run")
    (line,) = [line for line in output.splitlines() if line.startswith("  exec ")]
    assert shlex.split(line)[2:] == words


def test_a_sites_profile_lies_under_the_sweeps_block_and_is_found_in_the_users_configuration(fishray, without_slurm):
    Path("site.yaml").write_text("{partition: gpu, cpus: 64, workers: {min: 1}}")
    profile = Path("home/.config/fishray/cluster.yaml")
    profile.parent.mkdir(parents=True)
    profile.write_text("{account: lab, driver: {partition: cpu}}")
    _, named, _ = fishray("tune", "tiny.yaml", "--dry-run", "--cluster", "site.yaml")
    assert "#SBATCH --partition=gpu" in named
    assert "--account" not in named
    assert " workers        3 at first, 4 at most; each with 2 CPUs" in named  # the sweep's own
    _, found, _ = fishray("tune", "tiny.yaml", "--dry-run")
    assert found.count("--account=lab") == 2  # the driver is charged to it too
    assert found.count("--partition=cpu") == 1


def test_where_there_is_no_slurm_a_sweep_for_it_is_refused_with_what_to_type(fishray, without_slurm, here):
    before = sorted(here.rglob("*"))
    status, output, errors = fishray("tune", "tiny.yaml", "--runs", "my runs", "--set", "search.max_epochs=2")
    assert (status, output) == (2, "")
    assert errors == (
        "fishray: there is no Slurm here (no sbatch), where this sweep's workers are to be; run it on this machine "
        "alone: fishray tune tiny.yaml --set search.max_epochs=2 --runs 'my runs' --on local\n"
    )
    assert sorted(here.rglob("*")) == before


def test_on_local_the_cluster_block_is_ignored(fishray, without_slurm, tank_store):
    Path("home/.config/fishray").mkdir(parents=True)
    Path("home/.config/fishray/cluster.yaml").write_text("{no_such: setting}")
    whole = "data.split={train: [tank-1], validation: [tank-2], test: [tank-3]}"
    rule = "labels={horizon: 10, range_threshold: 0.02}"
    data = ("--set", f"data={{store: {tank_store}, look_back: 90}}", "--set", whole, "--set", rule)
    status, output, errors = fishray("tune", "tiny.yaml", "--on", "local", "--dry-run", *data)
    assert (status, errors) == (0, "")
    assert "worker" not in output
    assert "sbatch" not in output.lower()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("families.lstm.resources.cpus=3", "a trial asks for 3 CPUs, a worker has 2"),
        ("families.lstm.resources.gpus=1", "a trial asks for 1 GPUs, a worker has 0"),
    ],
)
@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_a_trial_that_no_worker_could_hold_is_refused_before_anything_is_submitted(
    fishray, here, monkeypatch, setting, words, option
):
    commands = here / "commands"
    commands.mkdir()
    for name in ("sbatch", "squeue"):
        (commands / name).write_text("#!/bin/sh\ntouch called\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands))
    status, output, errors = fishray("tune", "tiny.yaml", "--set", setting, *option)
    assert (status, output) == (2, "")
    assert words in errors
    assert not Path("called").exists()
    assert not Path("runs").exists()


# The scripts that are shipped


@pytest.fixture
def run_script(here):
    """Run a shipped job script as Slurm does, from a copy; a stand-in for fishray prints its words, one a line."""
    program = here / ".venv/bin/fishray"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)

    def run(name, *words, **variables):
        copy = here / "slurm_script"
        copy.write_text((SCRIPTS / name).read_text())
        environment = {"PATH": "/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(here)} | variables
        done = subprocess.run(
            ["/bin/bash", copy, *words], cwd="/", env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout.splitlines(), done.stderr.strip()

    return run


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ((), ["tune", "sweeps/small.yaml", "--on", "slurm"]),
        (("my sweep.yaml",), ["tune", "my sweep.yaml", "--on", "slurm"]),
        (("a.yaml", "--set", "seed=3"), ["tune", "a.yaml", "--set", "seed=3", "--on", "slurm"]),
        (("--set", "seed=3"), ["tune", "sweeps/small.yaml", "--set", "seed=3", "--on", "slurm"]),
    ],
)
def test_sweep_sh_runs_the_default_sweep_or_the_one_that_is_named(run_script, words, given):
    assert run_script("sweep.sh", *words) == (0, given, "")


def test_ingest_sh_takes_the_line_of_its_task(run_script):
    Path("videos.txt").write_bytes(b"one.mp4\r\nmy film.mp4\nday 2/film.mp4\tfilm-2")
    words = ("data/mine.zarr", "videos.txt", "--fps", "25")
    ours = ["--store", "data/mine.zarr"]
    for task, given in (
        ("1", ["ingest", "one.mp4", *ours, "--fps", "25"]),
        ("2", ["ingest", "my film.mp4", *ours, "--fps", "25"]),
        ("3", ["ingest", "day 2/film.mp4", *ours, "--name", "film-2", "--fps", "25"]),
    ):
        assert run_script("ingest.sh", *words, SLURM_ARRAY_TASK_ID=task) == (0, given, "")


@pytest.mark.parametrize(
    ("words", "variables", "error"),
    [
        (("mine.zarr", "videos.txt"), {"SLURM_ARRAY_TASK_ID": "3"},
         "videos.txt has nothing on line 3; it has 2 lines"),
        (("mine.zarr", "videos.txt"), {},
         "submit me as an array, with a task for each line of videos.txt: --array=1-2"),
        (("mine.zarr", "other.txt"), {"SLURM_ARRAY_TASK_ID": "1"}, "no list of sources at other.txt (seen from "),
        (("mine.zarr",), {"SLURM_ARRAY_TASK_ID": "1"}, "submit me: sbatch --array=1-12 slurm/ingest.sh STORE LIST"),
        (("mine.zarr", "videos.txt"), {"SLURM_SUBMIT_DIR": ""}, "submit me: sbatch --array=1-12 slurm/ingest.sh"),
    ],
    ids=["no such line", "no array", "no list", "too few words", "not submitted"],
)  # fmt: skip
def test_ingest_sh_says_what_is_wrong(run_script, words, variables, error):
    Path("videos.txt").write_text("one.mp4\ntwo.mp4\n")
    status, output, errors = run_script("ingest.sh", *words, **variables)
    assert (status, output) == (1, [])
    assert errors.startswith(error)


@pytest.mark.parametrize("name", ["sweep.sh", "ingest.sh"])
def test_the_log_of_a_shipped_script_needs_no_folder(name):
    (output,) = re.findall(r"#SBATCH --output=(.*)", (SCRIPTS / name).read_text())
    assert "/" not in output
