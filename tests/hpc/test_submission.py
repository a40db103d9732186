"""Job scripts as text, and what a stand-in for sbatch is given."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.errors import SlurmError
from hpc.settings import ClusterSettings, JobSettings
from hpc.submission import driver_script, submit_worker, unpack_lines, worker_script

FOLDER = Path("/home/ada/runs/small/cluster")
LOG = FOLDER / "driver-%j.log"

ODD = [
    "/home/ada/my runs",
    "/home/o'hara/runs",
    '/home/ada/"best" runs',
    "/home/ada/runs#2",
    "/home/ada/$HOME `x` & co",
]


def worker(folder=FOLDER, name="fishray-small", **settings):
    return worker_script(ClusterSettings(**settings), folder, name)


def driver(comment=f"driver of {FOLDER}", log=LOG, command="fishray tune a.yaml", setup=(), notice_s=120, **settings):
    return driver_script(JobSettings(**settings), "fishray-small", comment, log, notice_s, command, setup)


def options_of(script):
    """What sbatch reads of a script, the last of two counting; True for one without a value."""
    options = {}
    for line in script.splitlines():
        if line.startswith("#SBATCH "):
            (word,) = shlex.split(line.removeprefix("#SBATCH "), comments=True)  # sbatch refuses a second one
            key, equals, value = word.removeprefix("--").partition("=")
            options[key] = value if equals else True
        elif line and not line.startswith("#"):
            break  # and reads no further
    return options


def shell_of(script):
    """The lines that are run."""
    return [line for line in script.splitlines() if line and not line.startswith("#")]


def test_a_worker_is_one_task_on_one_node_that_is_told_before_its_end_and_never_started_again_by_slurm():
    assert options_of(worker()) == {
        "job-name": "fishray-small",
        "comment": "/home/ada/runs/small/cluster",
        "nodes": "1",
        "ntasks-per-node": "1",
        "cpus-per-task": "4",
        "mem": "16384M",
        "time": "04:00:00",
        "signal": "USR2@120",
        "no-requeue": True,
        "output": "/home/ada/runs/small/cluster/jobs/%j_0_log.out",
        "open-mode": "append",
    }


@pytest.mark.parametrize(
    ("settings", "option", "value"),
    [
        ({"cpus": 16}, "cpus-per-task", "16"),
        ({"gpus": 2}, "gpus-per-node", "2"),
        ({"memory_gb": 0.5}, "mem", "512M"),
        ({"memory_gb": 0.0001}, "mem", "1M"),  # 0 would be all of the node's
        ({"time": "1-12:00:00"}, "time", "1-12:00:00"),
        ({"time": "90"}, "time", "90"),
        ({"time": "03:30"}, "time", "03:30"),
        ({"time": "UNLIMITED"}, "time", "UNLIMITED"),
        ({"partition": "gpu"}, "partition", "gpu"),
        ({"account": "fish"}, "account", "fish"),
        ({"notice_s": 300}, "signal", "USR2@300"),
        ({"sbatch": {"qos": "long"}}, "qos", "long"),
        ({"sbatch": {"nice": 0}}, "nice", "0"),
        ({"sbatch": {"exclusive": True}}, "exclusive", True),
        ({"sbatch": {"constraint": "a100 & ib"}}, "constraint", "a100 & ib"),
        ({"gpus": 2, "sbatch": {"gpus-per-node": "a100:2"}}, "gpus-per-node", "a100:2"),
        ({"sbatch": {"cpus-per-task": 8}}, "cpus-per-task", "8"),
        ({"sbatch": {"mem": "0"}}, "mem", "0"),
        ({"sbatch": {"time": "2-00"}}, "time", "2-00"),
    ],
)
def test_a_setting_of_a_worker_is_one_line_for_sbatch_and_changes_no_other(settings, option, value):
    assert options_of(worker(**settings)) == options_of(worker()) | {option: value}


@pytest.mark.parametrize("option", ["no-requeue", "mem", "cpus-per-task", "time"])
def test_a_site_can_leave_out_one_of_our_options(option):  # say --mem, to ask for memory by CPU
    left = options_of(worker(sbatch={option: False}))
    assert left == {key: value for key, value in options_of(worker()).items() if key != option}


def test_gpus_can_be_asked_for_in_another_way():
    options = options_of(worker(gpus=2, sbatch={"gpus-per-node": False, "gres": "gpu:a100:2"}))
    assert "gpus-per-node" not in options
    assert options["gres"] == "gpu:a100:2"


def test_the_step_of_a_worker_gets_all_of_its_cpus():  # which srun does not take over from sbatch since Slurm 22.05
    assert "--cpus-per-task=4" in shlex.split(shell_of(worker())[-1])
    assert "--cpus-per-task=8" in shlex.split(shell_of(worker(sbatch={"cpus-per-task": 8}))[-1])
    assert "cpus-per-task" not in shell_of(worker(sbatch={"cpus-per-task": False, "cpus-per-gpu": 4}))[-1]


def test_a_worker_runs_with_the_python_of_its_driver():
    words = shlex.split(shell_of(worker())[-1])
    assert words[0] == "srun"
    assert words[-5:] == [sys.executable, "-u", "-m", "submitit.core._submit", str(FOLDER / "jobs")]


def test_a_worker_may_run_with_another_python():
    line = shell_of(worker(python="apptainer exec --nv image.sif python3"))[-1]
    assert " apptainer exec --nv image.sif python3 -u -m submitit" in line


def test_setup_lines_come_before_the_command_in_their_order():
    lines = shell_of(worker(setup=("module load cuda", "export A='b c'")))
    assert lines[:2] == ["module load cuda", "export A='b c'"]
    assert lines[-1].startswith("srun ")


def test_a_packed_environment_is_unpacked_behind_the_setup_and_its_python_run():
    unpack = unpack_lines(FOLDER / "environment.tar", Path("/local"))
    lines = shell_of(worker(environment="packed", scratch=Path("/local"), setup=("module load cuda",)))
    assert lines[: len(unpack) + 1] == ["module load cuda", *unpack]
    assert ' "$HPC_PYTHON" -u -m submitit' in lines[-1]
    assert "HPC_PYTHON" not in worker()


@pytest.mark.parametrize("folder", ODD)
def test_a_worker_finds_its_folder_whatever_its_name(folder):
    script = worker(folder=Path(folder))
    options = options_of(script)
    assert options["comment"] == folder
    assert options["output"] == f"{folder}/jobs/%j_0_log.out"
    assert shlex.split(shell_of(script)[-1])[-1] == f"{folder}/jobs"


def test_reading_a_script_leaves_nothing_behind(tmp_path):
    worker(folder=tmp_path / "cluster")
    assert list(tmp_path.iterdir()) == []


def test_a_driver_is_a_small_job_that_is_told_before_its_end_and_can_be_queued_again():
    assert options_of(driver()) == {
        "job-name": "fishray-small",
        "comment": "driver of /home/ada/runs/small/cluster",
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": "2",
        "mem": "8192M",
        "time": "1-00:00:00",
        "signal": "B:USR1@120",  # to its shell, which is the driver by then
        "requeue": True,
        "output": "/home/ada/runs/small/cluster/driver-%j.log",
        "open-mode": "append",
    }


@pytest.mark.parametrize(
    ("settings", "option", "value"),
    [
        ({"cpus": 1}, "cpus-per-task", "1"),
        ({"memory_gb": 1.5}, "mem", "1536M"),
        ({"time": "5-00"}, "time", "5-00"),
        ({"partition": "cpu"}, "partition", "cpu"),
        ({"account": "fish"}, "account", "fish"),
        ({"notice_s": 300}, "signal", "B:USR1@300"),
        ({"sbatch": {"qos": "long"}}, "qos", "long"),
        ({"sbatch": {"time": "1"}}, "time", "1"),
        ({"sbatch": {"output": "/dev/null"}}, "output", "/dev/null"),
    ],
)
def test_a_setting_of_a_driver_is_one_line_for_sbatch_and_changes_no_other(settings, option, value):
    assert options_of(driver(**settings)) == options_of(driver()) | {option: value}


def test_a_driver_need_not_be_queued_again():
    assert "requeue" not in options_of(driver(sbatch={"requeue": False}))


def test_a_driver_becomes_its_command_behind_the_setup():  # so that Slurm's signal to the shell reaches it
    lines = shell_of(driver(setup=("module load cuda", "cd /home/ada"), command="fishray tune 'my sweep.yaml'"))
    assert lines == ["module load cuda", "cd /home/ada", "exec fishray tune 'my sweep.yaml'"]


@pytest.mark.parametrize("folder", ODD)
def test_a_driver_finds_its_log_whatever_its_name(folder):
    options = options_of(driver(comment=f"driver of {folder}", log=Path(folder) / "driver-%j.log"))
    assert options["comment"] == f"driver of {folder}"
    assert options["output"] == f"{folder}/driver-%j.log"


@pytest.mark.parametrize("script", [worker(), driver(), worker(environment="packed", setup=("module load x",))])
def test_a_script_is_one_that_bash_reads(script):
    assert script.startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """Make a stand-in for sbatch; it notes its environment."""
    seen = tmp_path / "seen"

    def make(answer):
        path = tmp_path / "bin" / "sbatch"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\nenv > {seen}\n{answer}\n")
        path.chmod(0o700)
        monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
        return seen

    return make


def submit(folder):
    (folder / "jobs").mkdir(parents=True, exist_ok=True)
    return submit_worker(ClusterSettings(), folder, "fishray-small", print, "hello")


@pytest.mark.parametrize("answer", ["Submitted batch job 4711", "Submitted batch job 4711 on cluster north"])
def test_a_submitted_worker_is_known_by_its_number(sbatch, tmp_path, answer):
    sbatch(f"echo {answer}")
    assert submit(tmp_path) == "4711"
    written = {path.name for path in (tmp_path / "jobs").iterdir() if not path.is_symlink()}
    assert written == {"4711_submission.sh", "4711_submitted.pkl"}
    assert options_of((tmp_path / "jobs" / "4711_submission.sh").read_text())["comment"] == str(tmp_path)


def test_a_worker_that_is_submitted_from_within_a_job_inherits_nothing_of_it(sbatch, tmp_path, monkeypatch):
    inherited = (
        "SLURM_CPUS_PER_TASK",
        "SLURM_MEM_PER_NODE",
        "SBATCH_PARTITION",
        "SRUN_CPUS_PER_TASK",
        "SUBMITIT_FOLDER",
    )
    for key in inherited:
        monkeypatch.setenv(key, "2")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("OUR_OWN", "1")
    seen = sbatch("echo Submitted batch job 4711")
    submit(tmp_path)
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert not names & set(inherited)
    assert {"SLURM_CONF", "OUR_OWN", "PATH"} <= names


REFUSED = """\
echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2
echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' >&2
exit 1"""


def test_a_worker_that_is_refused_is_an_error_in_the_words_of_sbatch(sbatch, tmp_path):
    sbatch(f"echo 'Lmod is loaded' >&2\n{REFUSED}")
    with pytest.raises(SlurmError) as caught:
        submit(tmp_path)
    assert str(caught.value) == (
        "sbatch: error: QOSMaxSubmitJobPerUserLimit "
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
    )


def test_workers_that_are_refused_leave_no_files(sbatch, tmp_path):
    sbatch("echo Submitted batch job 4711")
    submit(tmp_path)
    before = sorted((tmp_path / "jobs").iterdir())
    sbatch(REFUSED)
    for _ in range(3):
        with pytest.raises(SlurmError):
            submit(tmp_path)
    assert sorted((tmp_path / "jobs").iterdir()) == before


def test_an_answer_without_a_number_is_an_error(sbatch, tmp_path):
    sbatch("echo Your quota is used up.")
    with pytest.raises(SlurmError, match="Your quota is used up"):
        submit(tmp_path)


def test_where_there_is_no_sbatch_the_error_says_so(tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("env", "timeout"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(SlurmError, match=r"sbatch.*No such file"):
        submit(tmp_path)
