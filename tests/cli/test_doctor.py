import io
import signal
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console

from fishray import cli
from fishray.cli import doctor as command
from hpc import doctor
from hpc.doctor import Checkup, Need, failure, ok, warning
from hpc.settings import ClusterSettings

LOGIN = Checkup(
    "login node",
    (
        ok("Slurm 22.05.8: partitions gpu* (24 h), cpu (no limit); arrays up to 1001"),
        warning("sacct is off: how a job ended is known from squeue and exit markers alone"),
    ),
)
NODE = Checkup(
    "compute node gpu-07 (asked 1 GPU, 4 CPUs, 16 GB)",
    (
        ok("torch 2.11.0 sees 1 of 1 GPU granted (A100, 40 GB)"),
        failure(
            "driver 525.147.05 is for CUDA 12.0, older than this torch needs (CUDA 13.0)",
            'install a torch for CUDA 12 (README, "Your site\'s torch")',
        ),
        warning("importing torch took 71 s from where it is installed", "cluster: {environment: packed}"),
    ),
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder and a home of this test's own, without a site profile or secrets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # which main sets, for itself alone here
    return tmp_path


@pytest.fixture
def run_doctor(monkeypatch, capsys):
    """Run a command line in this process; its exit status, and what it printed on either stream."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fishray", "doctor", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def found(monkeypatch):
    """Let a cluster be what a test makes of it; notes with what it was looked at."""

    class Found:
        login, node = LOGIN, NODE
        settings = need = wait_s = None

        def look_at_login_node(self, settings, runs, need):
            self.settings, self.need = settings, need
            return self.login

        def look_at_node(self, settings, runs, *, wait_s, tell):
            self.wait_s = wait_s
            tell("job 12 waits in the queue (Priority)")
            return self.node() if callable(self.node) else self.node

    found = Found()
    monkeypatch.setattr(doctor, "examine_login_node", found.look_at_login_node)
    monkeypatch.setattr(doctor, "examine_node", found.look_at_node)
    return found


def test_this_machine_is_looked_at_for_real_and_nothing_is_left(run_doctor, here):
    status, output, errors = run_doctor("--on", "local")
    lines = output.splitlines()
    assert (status, errors) == (0, "")
    assert lines[:2] == [" … importing torch", " this machine"]
    assert lines[2].startswith(f"  ok       Python {'.'.join(map(str, sys.version_info[:3]))}, ray ")
    assert any(line.startswith("  ok       torch ") for line in lines)
    assert [line for line in lines if line.startswith("  failure")] == []
    assert lines[-1].endswith(" Next: fishray tune sweeps/small.yaml")
    assert list(here.iterdir()) == []


def test_a_failure_of_this_machine_has_its_remedy_and_ends_with_one(run_doctor, here):
    (here / ".ray").mkdir()
    (here / ".ray" / "auth_token").write_text("secret")
    (here / ".ray" / "auth_token").chmod(0o644)
    status, output, _ = run_doctor("--on", "local")
    assert status == 1
    told = [line for line in output.splitlines() if line.startswith("  failure")]
    assert told == [
        f"  failure  {here}/.ray/auth_token is readable to others: whoever has it can run programs as you "
        f"→ chmod 600 {here}/.ray/auth_token"
    ]
    assert output.splitlines()[-1] == "1 failure. When mended, look again: fishray doctor --on local"


def test_a_cluster_is_shown_by_node_in_a_log_with_one_line_a_finding(run_doctor, found):
    status, output, _ = run_doctor("--on", "slurm")
    assert status == 1
    assert output == (
        " login node\n"
        "  ok       Slurm 22.05.8: partitions gpu* (24 h), cpu (no limit); arrays up to 1001\n"
        "  warning  sacct is off: how a job ended is known from squeue and exit markers alone\n"
        " … job 12 waits in the queue (Priority)\n"
        " compute node gpu-07 (asked 1 GPU, 4 CPUs, 16 GB)\n"
        "  ok       torch 2.11.0 sees 1 of 1 GPU granted (A100, 40 GB)\n"
        "  failure  driver 525.147.05 is for CUDA 12.0, older than this torch needs (CUDA 13.0) "
        '→ install a torch for CUDA 12 (README, "Your site\'s torch")\n'
        "  warning  importing torch took 71 s from where it is installed → cluster: {environment: packed}\n"
        "\n"
        "1 failure. When mended, look again: fishray doctor --on slurm\n"
    )


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ((ok("fine"),), "Nothing is in the way."),
        ((warning("slow"), ok("fine")), "No failure, 1 warning."),
    ],
)
def test_without_a_failure_it_says_what_to_type_next(run_doctor, found, findings, said):
    found.login, found.node = Checkup("login node", (ok("fine"),)), Checkup("compute node", findings)
    status, output, _ = run_doctor("--on", "slurm", "--wait", "5")
    assert (status, found.wait_s) == (0, 5.0)
    assert output.splitlines()[-1] == f"{said} Next: fishray tune sweeps/small.yaml --on slurm"


def test_no_job_is_submitted_where_none_could_begin(run_doctor, found):
    found.login, found.node = Checkup("login node", (failure("no Slurm"),), blocked=True), lambda: 1 / 0
    status, output, _ = run_doctor("--on", "slurm")
    assert status == 1
    assert "  warning  not examined: no job of ours could begin\n" in output


SWEEP = """
data: {store: tank.zarr}
labels: {horizon: 10, range_threshold: auto}
families: {lstm: {trials: 40}, convlstm: {trials: 2}}
cluster: {cpus: 2, partition: gpu}
"""


def test_a_sweep_says_what_workers_are_and_how_many_files_it_writes(run_doctor, found):
    Path("mine.yaml").write_text(SWEEP)
    Path("site.yaml").write_text("partition: cpu\naccount: lab\n")
    run_doctor("mine.yaml", "--on", "slurm", "--cluster", "site.yaml", "--set", "cluster.cpus=3")
    assert found.settings == ClusterSettings(cpus=3, partition="gpu", account="lab")
    assert found.need == Need(126, "a sweep of 42 trials")


def test_without_a_sweep_the_site_profile_says_what_workers_are(run_doctor, found, here):
    (here / ".config" / "fishray").mkdir(parents=True)
    (here / ".config" / "fishray" / "cluster.yaml").write_text("partition: gpu\ngpus: 1\n")
    run_doctor("--on", "slurm")
    assert found.settings == ClusterSettings(partition="gpu", gpus=1)
    assert found.need == Need(300, "a sweep of 100 trials")


def test_where_there_is_a_slurm_it_is_looked_at_unless_told_otherwise(run_doctor, found, monkeypatch):
    monkeypatch.setattr(command.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert run_doctor()[1].startswith(" login node\n")
    monkeypatch.setattr(command.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "examine_here", lambda *_: Checkup("this machine", (ok("fine"),)))
    assert " this machine\n" in run_doctor()[1]


def test_a_setting_without_a_sweep_is_refused(run_doctor):
    status, _, errors = run_doctor("--set", "cluster.cpus=3")
    assert status == 2
    assert errors.startswith("fishray: --set replaces settings of a sweep; name it: fishray doctor SWEEP.yaml --set")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_any_end_is_one_in_good_order(run_doctor, found, number):
    before = signal.getsignal(signal.SIGTERM)

    def interrupted():
        signal.raise_signal(number)  # in this thread: a signal that another takes would not end a wait here

    found.node = interrupted
    status, output, _ = run_doctor("--on", "slurm")
    assert status == 130
    assert output.endswith("Stopped; nothing is left of it.\n")
    assert signal.getsignal(signal.SIGTERM) is before


def shown(checkup, width, terminal=True):
    output = io.StringIO()
    command.print_checkup(checkup, Console(file=output, width=width, force_terminal=terminal, color_system=None))
    return output.getvalue().splitlines()


def test_on_a_narrow_terminal_texts_and_remedies_are_wrapped_under_one_another():
    assert shown(NODE, 80) == [
        " compute node gpu-07 (asked 1 GPU, 4 CPUs, 16 GB)",
        "  ok       torch 2.11.0 sees 1 of 1 GPU granted (A100, 40 GB)",
        "  failure  driver 525.147.05 is for CUDA 12.0, older than this torch needs (CUDA",
        "           13.0)",
        '           → install a torch for CUDA 12 (README, "Your site\'s torch")',
        "  warning  importing torch took 71 s from where it is installed",
        "           → cluster: {environment: packed}",
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width):
    for checkup in (LOGIN, NODE):
        lines = shown(checkup, width)
        assert max(map(len, lines)) <= width
        said = " ".join(" ".join(lines).split())
        for finding in checkup.findings:
            assert f"{finding.level} {finding.text}" in said
            assert finding.remedy in said


def test_levels_have_colours_on_a_terminal_and_none_in_a_log():
    output = io.StringIO()
    command.print_checkup(NODE, Console(file=output, width=100, force_terminal=True, color_system="standard"))
    assert "\x1b[1;31m  failure  \x1b[0m" in output.getvalue()
    output = io.StringIO()
    command.print_checkup(NODE, Console(file=output, width=100))
    assert "\x1b" not in output.getvalue()


def test_help_says_what_a_sweep_on_slurm_needs_and_explains_every_option(run_doctor):
    _, output, _ = run_doctor("--help")
    text = " ".join(output.split())
    assert text.startswith("Usage: fishray doctor ")
    assert "What fishray tune --on slurm needs:" in text
    assert "fishray doctor --on slurm" in text
    asked = typer.main.get_command(cli.app).commands["doctor"].params
    assert [each.name for each in asked if not each.help or " ".join(each.help.split()) not in text] == []
    assert max(map(len, output.splitlines())) <= 80
