import os
import sys
import time
from pathlib import Path

import pytest

from hpc import slurm as module
from hpc.errors import SlurmError
from hpc.slurm import QUEUE_FORMAT, QueuedJob, Slurm, outside_a_job, parse_queue, run_command

NEVER = float("inf")


def moment_s(text):
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


def saying(*answers):
    """A Slurm that gives these answers, and what it was asked."""
    asked, left = [], list(answers)

    def run(command, given):
        asked.append((list(command), given))
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Slurm(run), asked


@pytest.mark.parametrize(
    ("line", "job"),
    [
        ("4711|RUNNING|2026-11-26T00:18:00|n7|None|/home/ada/runs/small/cluster",
         QueuedJob("4711", "RUNNING", "", "n7", moment_s("2026-11-26T00:18:00"), "/home/ada/runs/small/cluster")),
        ("4712|PENDING|N/A||Resources|(null)", QueuedJob("4712", "PENDING", "Resources", "", NEVER, "(null)")),
        ("4713|PENDING|NONE||Priority|", QueuedJob("4713", "PENDING", "Priority", "", NEVER, "")),
        ("4714|PENDING|Unknown||QOSMaxGRESPerUser|",
         QueuedJob("4714", "PENDING", "QOSMaxGRESPerUser", "", NEVER, "")),
        ("4715|PENDING|2026-11-26T00:18:00||(Nodes required for job are DOWN, DRAINED or reserved)|x",
         QueuedJob("4715", "PENDING", "(Nodes required for job are DOWN, DRAINED or reserved)", "",
                   moment_s("2026-11-26T00:18:00"), "x")),
        ("4716|PENDING|NONE||job requeued in held state|x",
         QueuedJob("4716", "PENDING", "job requeued in held state", "", NEVER, "x")),
        ("4717|COMPLETED|2026-11-24T23:33:52|n7|None|driver of /home/ada/my runs",
         QueuedJob("4717", "COMPLETED", "", "n7", moment_s("2026-11-24T23:33:52"), "driver of /home/ada/my runs")),
        ('4718|RUNNING|N/A|n7|None|it\'s a "q" #1 | x || y',
         QueuedJob("4718", "RUNNING", "", "n7", NEVER, 'it\'s a "q" #1 | x || y')),
        ("4719|RUNNING|N/A|gpu[01-03,07]|None|", QueuedJob("4719", "RUNNING", "", "gpu[01-03,07]", NEVER, "")),
        ("4720|RUNNING|N/A|n7|None|/home/zoë/läufe", QueuedJob("4720", "RUNNING", "", "n7", NEVER, "/home/zoë/läufe")),
    ],
)  # fmt: skip
def test_a_line_of_the_queue_is_a_job(line, job):
    assert parse_queue(f"{line}\n") == [job]


def test_every_job_of_the_queue_is_read_and_nothing_else():
    text = """\
CLUSTER: north
11|RUNNING|N/A|n1|None|a

squeue: warning: slow
 12|PENDING|N/A||Priority|b
13|PENDING|N/A
another line of the comment on 12
14_[2-9%2]|PENDING|N/A||Priority|c
15+1|PENDING|N/A||Priority|d
"""
    assert [job.job_id for job in parse_queue(text)] == ["11", "12"]
    assert parse_queue("") == []


def test_the_queue_is_asked_for_the_number_that_a_job_knows_itself_by():  # %i of an array's task is 14_2
    assert QUEUE_FORMAT.split("|") == ["%A", "%T", "%e", "%N", "%r", "%k"]


@pytest.mark.parametrize(
    ("state", "pending", "active"),
    [
        ("PENDING", True, True),
        ("CONFIGURING", True, True),
        ("REQUEUED", True, True),
        ("REQUEUE_HOLD", True, True),
        ("SPECIAL_EXIT", True, True),
        ("RUNNING", False, True),
        ("SUSPENDED", False, True),
        ("RESIZING", False, True),
        ("COMPLETING", False, True),
        ("A_STATE_OF_A_LATER_SLURM", False, True),
        ("COMPLETED", False, False),
        ("CANCELLED", False, False),
        ("FAILED", False, False),
        ("TIMEOUT", False, False),
        ("NODE_FAIL", False, False),
        ("PREEMPTED", False, False),
        ("BOOT_FAIL", False, False),
        ("DEADLINE", False, False),
        ("OUT_OF_MEMORY", False, False),
        ("REVOKED", False, False),
    ],
)
def test_a_state_says_whether_a_job_waits_and_whether_it_has_ended(state, pending, active):
    job = QueuedJob("1", state, "", "", NEVER, "")
    assert (job.is_pending, job.is_active) == (pending, active)


def test_one_job_is_looked_up_in_the_queue_of_all():
    lines = "11|RUNNING|N/A|n1|None|a\n12|PENDING|N/A||Priority|b\n"
    slurm, asked = saying(lines, lines)
    assert slurm.job("12").reason == "Priority"
    assert slurm.job("1") is None
    command = ["squeue", "--me", "--noheader", "--states=all", f"--format={QUEUE_FORMAT}"]
    assert asked == [(command, ""), (command, "")]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("COMPLETED\n", "COMPLETED"),
        ("CANCELLED by 0\n", "CANCELLED"),
        ("OUT_OF_MEMORY\n", "OUT_OF_MEMORY"),
        ("NODE_FAIL\nCOMPLETED\n", "NODE_FAIL"),
        ("", ""),
        ("sacct: warning: nothing known\n", ""),
        (SlurmError("sacct: Slurm accounting storage is disabled"), ""),
        (SlurmError("sacct: not found; is this a machine of the cluster?"), ""),
    ],
)
def test_accounting_says_how_a_job_ended_where_there_is_any(said, state):
    slurm, asked = saying(said)
    assert slurm.final_state("4711") == state
    assert "--jobs=4711" in asked[0][0]


def test_cancelling_nothing_asks_nothing():
    slurm, asked = saying()
    slurm.cancel([])
    assert asked == []


@pytest.mark.parametrize(
    ("ask", "command"),
    [
        (lambda slurm: slurm.cancel({"12", "11"}), "scancel --quiet 11 12"),
        (lambda slurm: slurm.signal("11", "USR2"), "scancel --quiet --signal=USR2 11"),
        (lambda slurm: slurm.signal("11", "TERM", batch=True), "scancel --quiet --signal=TERM --batch 11"),
        (lambda slurm: slurm.requeue("11"), "scontrol requeue 11"),
    ],
)
def test_what_is_asked_of_slurm_is_one_command(ask, command):
    slurm, asked = saying("")
    ask(slurm)
    assert asked == [(command.split(), "")]


@pytest.mark.parametrize(
    ("said", "job_id"),
    [("4711\n", "4711"), ("4711;north\n", "4711"), ("Welcome to North!\n--> checking 2 limits\n4711\n", "4711")],
)
def test_a_submitted_job_is_known_by_its_number(said, job_id):
    slurm, asked = saying(said)
    assert slurm.submit("#!/bin/bash\n") == job_id
    assert asked == [(["sbatch", "--parsable"], "#!/bin/bash\n")]


def test_a_submission_without_a_number_is_an_error_with_what_was_said():
    slurm, _ = saying("Your quota is used up.\n")
    with pytest.raises(SlurmError, match=r"sbatch gave no job's number: Your quota is used up\."):
        slurm.submit("#!/bin/bash\n")


SHOWN = """\
NodeName=n7 Arch=x86_64 CoresPerSocket=1
   NodeAddr=10.77.0.17 NodeHostName=n7 Version=22.05.8
"""


@pytest.mark.parametrize(("said", "address"), [(SHOWN, "10.77.0.17"), ("NodeName=n7 State=UP\n", "n7")])
def test_a_node_has_the_address_by_which_slurm_reaches_it_or_its_name(said, address):
    slurm, asked = saying(said)
    assert slurm.node_address("n7") == address
    assert asked == [(["scontrol", "show", "node", "n7"], "")]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("sbatch: Job 9 to start at 2026-11-25T00:18:00 using 4 processors on nodes n7 in partition gpu\n",
         "sbatch: Job 9 to start at 2026-11-25T00:18:00 using 4 processors on nodes n7 in partition gpu"),
        ("", "it could start"),
    ],
)  # fmt: skip
def test_a_script_that_is_only_tested_gets_slurms_answer_in_words(said, words):
    slurm, asked = saying(said)
    assert slurm.test("#!/bin/bash\n") == words
    assert asked == [(["sbatch", "--test-only"], "#!/bin/bash\n")]


def test_a_script_that_could_never_start_is_an_error_in_slurms_words():
    slurm, _ = saying(SlurmError("sbatch: allocation failure: Requested node configuration is not available"))
    with pytest.raises(SlurmError, match="Requested node configuration"):
        slurm.test("#!/bin/bash\n")


@pytest.fixture
def command(tmp_path):
    """Make a command of a few lines of shell."""

    def make(lines, name="sbatch"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o700)
        return [str(path)]

    return make


def test_a_command_reads_what_it_is_given_and_says_what_it_prints(command):
    assert run_command(command("cat; echo heard >&2"), "zoë\n") == "zoë\n"
    assert run_command(command("cat; echo heard >&2")) == "heard\n"  # as sbatch --test-only does


def test_a_comment_that_is_no_text_costs_no_queue(command):
    lines = run_command(command(r"printf '11|RUNNING|N/A|n1|None|\377\n12|PENDING|N/A||Priority|b\n'"))
    assert [job.job_id for job in parse_queue(lines)] == ["11", "12"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("echo 'sbatch: error: Batch job submission failed:\n  Invalid account' >&2; exit 1",
         "sbatch: error: Batch job submission failed: Invalid account"),
        ("echo 'Slurm accounting storage is disabled' >&2; exit 1", "Slurm accounting storage is disabled"),
        ("echo 'on the wrong stream'; exit 1", "on the wrong stream"),
        ("exit 3", "status 3"),
    ],
)  # fmt: skip
def test_a_command_that_fails_is_an_error_in_its_own_words(command, lines, words):
    failing = command(lines)
    with pytest.raises(SlurmError) as caught:
        run_command(failing)
    assert str(caught.value) == f"{failing[0]}: {words}"


def test_slurms_words_begin_with_the_command_once(command, monkeypatch):
    path = command("echo 'sbatch: error: no' >&2; exit 1")[0]
    monkeypatch.setenv("PATH", str(Path(path).parent), prepend=os.pathsep)
    with pytest.raises(SlurmError) as caught:
        run_command(["sbatch"])
    assert str(caught.value) == "sbatch: error: no"


def test_without_slurm_the_error_says_so():
    with pytest.raises(SlurmError, match=r"no-such-squeue: not found; is this a machine of the cluster\?"):
        run_command(["no-such-squeue"])


def test_a_controller_that_does_not_answer_is_an_error(command, monkeypatch):
    monkeypatch.setattr(module, "COMMAND_TIMEOUT_S", 0.1)
    with pytest.raises(SlurmError, match=r"squeue did not answer within 0 s"):
        run_command(command("exec sleep 60", "squeue"))


IN_A_JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_MEM_PER_NODE": "8192",
    "SLURM_TIME_FORMAT": "relative",
    "SLURMD_NODENAME": "n7",
    "SRUN_CPUS_PER_TASK": "2",
    "SBATCH_PARTITION": "debug",
    "SQUEUE_PARTITION": "debug",
    "SCANCEL_INTERACTIVE": "1",
    "SACCT_FORMAT": "jobid",
    "SUBMITIT_EXECUTOR": "slurm",
    "PMI_RANK": "0",
    "PMIX_RANK": "0",
}


def test_nothing_of_the_job_that_we_are_in_and_no_default_of_a_user_goes_on():
    kept = {
        "PATH": "/usr/bin", "HOME": "/home/ada", "MY_SLURM_JOB": "1", "PMI": "1",
        "SLURM_CONF": "/etc/slurm/slurm.conf", "SLURM_CLUSTERS": "north", "SLURM_JWT": "a.b.c",
    }  # fmt: skip
    assert outside_a_job(IN_A_JOB | kept) == kept


def test_a_command_runs_as_from_outside_a_job(monkeypatch):
    for key, value in IN_A_JOB.items():
        monkeypatch.setenv(key, value)
    names = run_command([sys.executable, "-c", "import os; print(*os.environ)"]).split()
    assert not set(IN_A_JOB) & set(names)
    assert "PATH" in names
