import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from fishray import __version__, cli
from fishray.config.loader import load_sweep
from fishray.config.tank import TankSettings
from fishray.predictors.network import NetworkPredictor
from fishray.runs import Run
from fishray.runs.directory import provenance
from fishray.store import new_recording, open_store
from fishray.weights import BEST, under, write_weights

COMMANDS = ["simulate", "ingest", "inspect", "train", "tune", "bench", "status", "report", "predict"]
IMPORTS = "import sys\ntry:\n    {}\nfinally:\n    print(sorted({{'torch', 'ray'}} & set(sys.modules)))"
"""A script that runs one statement and prints which of the two it has imported."""
# Frames are a read-only memory map on purpose; networks copy from it and never write.
READ_ONLY = "ignore:The given NumPy array is not writable:UserWarning"

LOOK_BACK = 24
SWEEP = {
    "name": "tiny",
    "data": {"look_back": LOOK_BACK},
    "labels": {"horizon": 10, "range_threshold": 0.02},  # more than the speed of one pixel a frame, less than of two
    "families": {
        "lstm": {
            "trials": 4,
            "space": {"hidden": {"choice": [4, 4]}},
            "fixed": {"steps_per_epoch": 3, "batch_size": 2, "judged_frames": 24},
        },
        "convlstm": {
            "trials": 2,
            "fixed": {"steps_per_epoch": 2, "batch_size": 2, "judged_frames": 24, "filters": [2], "downsample": 4},
        },
    },
    "search": {"max_epochs": 3, "reduction_factor": 2},
}

WHOLE = ("--set", "data.look_back=90", "--set", "data.split={train: [tank-1], validation: [tank-2], test: [tank-3]}")
"""A sweep of whole recordings, for they are short, with the look-back that the published algorithm needs."""


@pytest.fixture
def sweep(tmp_path, tank_store, monkeypatch):
    """A sweep file in the current folder."""
    monkeypatch.chdir(tmp_path)
    data = SWEEP["data"] | {"store": str(tank_store)}
    Path("tiny.yaml").write_text(json.dumps(SWEEP | {"data": data}))  # JSON is YAML
    return Path("tiny.yaml")


@pytest.fixture
def fishray(monkeypatch, capsys):
    """Run a command line in this process; what it printed, if it ended well."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # which main sets, for itself alone here

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fishray", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    return run


def test_the_version_is_the_packages(fishray):
    assert fishray("--version") == f"fishray {__version__}\n"


def test_the_entry_point_is_installed_and_says_the_version():
    command = [Path(sys.executable).with_name("fishray"), "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"fishray {__version__}\n"


def test_help_lists_every_command_and_how_to_begin(fishray):
    text = fishray("--help")
    assert [command for command in COMMANDS if f"  {command} " not in text] == []
    assert "fishray tune sweeps/video.yaml --set data.store=data/mine.zarr" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_says_what_it_does_and_explains_every_option(fishray, command):
    text = " ".join(fishray(command, "--help").split())
    assert text.startswith(f"Usage: fishray {command} ")
    asked = typer.main.get_command(cli.app).commands[command].params
    assert [each.name for each in asked if not each.help or " ".join(each.help.split()) not in text] == []
    assert [each.name for each in asked if each.param_type_name == "option" and each.opts[0] not in text] == []


@pytest.mark.parametrize(
    "statement",
    [
        "import fishray",
        "sys.argv = ['fishray', '--help']; from fishray.cli import main; main()",
        "sys.argv = ['fishray', 'tune', '--help']; from fishray.cli import main; main()",
        "sys.argv = ['fishray', 'status', 'runs/none']; from fishray.cli import main; main()",
    ],
    ids=["import", "help", "help of tune", "status"],
)
def test_neither_torch_nor_ray_is_imported_by(statement):
    script = [sys.executable, "-c", IMPORTS.format(statement)]
    assert subprocess.run(script, capture_output=True, text=True, check=False).stdout.splitlines()[-1] == "[]"


def rows_of(text):
    """Words of each line of a table, by its first word."""
    return {words[0]: words for line in text.splitlines() if (words := line.split())}


def test_inspect_shows_every_recording(fishray, tank_store):
    text = fishray("inspect", tank_store, "--rule", "horizon=10")
    rows = [line.split() for line in text.splitlines() if line.startswith(" tank-") and "24x32" in line]
    assert [(words[0], words[1]) for words in rows] == [("tank-1", "400"), ("tank-2", "400"), ("tank-3", "400")]
    assert text.splitlines()[-1].startswith("Next: fishray tune")


def test_simulate_and_ingest_lead_to_a_store(fishray, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fishray("simulate", "tank.mp4", "--minutes", 0.05, "--fish", 2).splitlines()[-1] == (
        "Next: fishray ingest tank.mp4 --store tank.zarr"
    )
    said = fishray("ingest", "tank.mp4", "--store", "tank.zarr", "--name", "first", "--size", "24x32")
    assert said.splitlines() == ["first: 90 frames at 30 fps, frames of 24x32", "Next: fishray inspect tank.zarr"]
    recording = open_store(Path("tank.zarr")).recording("first")
    assert (recording.frame_count, recording.frame_size) == (90, (24, 32))


def test_simulate_takes_every_setting_of_a_tank(fishray, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {
        "minutes": 0.05, "fish": 3, "seed": 4, "fps": 10, "size": "96x128", "arena": "round", "body-lengths": 6,
        "noise": 1.5, "display": 0.25, "display-s": 1.2, "encounters": 1.5, "alarm": 3.0,
    }  # fmt: skip
    taken = []
    monkeypatch.setattr("fishray.simulate.simulate", lambda out, settings, progress: taken.append(settings))
    fishray("simulate", "tank.mp4", *(word for key, value in options.items() for word in (f"--{key}", value)))
    wanted = {key.replace("-", "_"): value for key, value in options.items() if key != "size"}
    assert taken == [TankSettings(**wanted, height=96, width=128)]
    assert set(TankSettings.model_fields) == {*wanted, "height", "width"}  # nothing that the command lacks


@pytest.mark.filterwarnings(READ_ONLY)
@pytest.mark.parametrize("family", ["lstm", "convlstm"])
def test_train_runs_one_trial_to_its_last_epoch(fishray, sweep, family):
    lines = fishray("train", sweep, "--family", family, "--out", "kept").splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["epoch", "1"], ["epoch", "2"], ["epoch", "3"]]
    assert lines[-1] == "best epoch: kept/best"
    assert NetworkPredictor.load(Path("kept/best")).config.family == family
    assert not Path("runs").exists()


def test_train_takes_settings_of_the_trial_and_of_the_sweep(fishray, sweep):
    words = ("--set", "hidden=3", "--set", "search.max_epochs=1", "--trial", 2, "--out", "kept")
    assert len(fishray("train", sweep, "--family", "lstm", *words).splitlines()) == 2
    config = NetworkPredictor.load(Path("kept/best")).config
    assert (config.settings.hidden, config.number) == (3, 2)


def test_train_overfit_reports_the_training_auc(fishray, sweep):
    lines = fishray("train", sweep, "--family", "lstm", "--set", "hidden=16", "--overfit", 4).splitlines()
    assert lines[0].startswith("step   20 ")
    assert lines[-1].startswith("4 clips: training AUC ")
    assert float(lines[-1].split()[-1]) >= 0.99


def test_a_dry_run_says_what_would_run_and_writes_nothing(fishray, sweep):
    before = sorted(Path().rglob("*"))
    text = fishray("tune", sweep, "--dry-run", *WHOLE)
    rows = rows_of(text)
    assert " ".join(rows["rungs"]) == "rungs 1 → 2 → 3 epochs, by validation auc"
    assert rows["recordings"][1:] == ["tank-1,", "tank-2,", "tank-3"]
    assert [title for title in ("trials", "weights", "CPUs", "GPUs", "at once") if title not in text] == []
    # An LSTM of 4 on one speed has 4·4·(1 + 4) weights and two biases of 4·4, its head 4 + 1.
    assert rows["lstm"][1:3] == ["4", "117"]
    # 8 channels and 9 taps to 4·2 gates with bias, 2 hidden channels and 9 taps to 4·2 gates, a head of 2·2 + 1.
    assert rows["convlstm"][1:3] == ["2", str((8 * 9 + 1) * 8 + 2 * 9 * 8 + 5)]
    assert text.splitlines()[-1].startswith("Nothing was started.")
    assert sorted(Path().rglob("*")) == before


def test_a_dry_run_forecasts_the_cost_by_models_that_it_has_trained_here(fishray, sweep):
    text = fishray("tune", sweep, "--dry-run", *WHOLE)
    forecast, _, disk, measured, *_ = text[text.index(" forecast ") :].splitlines()
    assert "CPU-" in forecast
    assert "files and folders" in disk
    assert measured.startswith(" measured on              2 models, here, in ")


def test_a_dry_run_trains_nothing_where_the_plan_is_enough(fishray, sweep, monkeypatch):
    monkeypatch.delattr("fishray.training.learner.Learner.train_epoch")
    text = fishray("tune", sweep, "--dry-run", "--no-probe", *WHOLE)
    assert "forecast" not in text
    assert text.splitlines()[-1].startswith("Nothing was started.")


def test_a_setting_on_the_command_line_replaces_the_files(fishray, sweep):
    words = ("--dry-run", "--set", "search.max_epochs=8", "--set", "families.lstm.trials=7", "--set", "name=other")
    text = fishray("tune", sweep, *words, *WHOLE)
    assert text.startswith("other · seed 0")
    assert " ".join(rows_of(text)["rungs"]) == "rungs 1 → 2 → 4 → 8 epochs, by validation auc"
    assert rows_of(text)["lstm"][1] == "7"


# predict


@pytest.fixture
def run(sweep, make_trial):
    """A run with one untrained trial of each kind: the LSTM has ended, the ConvLSTM, for frames of 24x32, runs."""
    opened = Run.claim(Path("runs/tiny"))
    opened.write_sweep(load_sweep(sweep), provenance("fingerprint"))
    torch.manual_seed(0)  # what they answer is not to hang on the tests before
    for number, trial in enumerate((make_trial("lstm", hidden=3), make_trial("convlstm", downsample=4))):
        opened.journal.append("trial", config=trial.model_dump(mode="json"))
        opened.journal.append("attempt", trial=trial.id, attempt=1)
        arrays, metadata = NetworkPredictor(trial, LOOK_BACK, ((24, 32),)).packed()
        path = opened.prepare_attempt(trial.id, 1, None)
        write_weights(path, under(arrays, BEST), {"epoch": 1, **under(metadata, BEST)})
        opened.journal.append(
            "result", trial=trial.id, epoch=1, best_epoch=1, collapsed=False, validation_auc=0.6 - number / 10
        )
    opened.keep_best("lstm-0000", 1)
    opened.remove_attempts("lstm-0000")
    opened.journal.append("end", trial="lstm-0000", status="stopped", reason="stopped at rung 1")
    return opened


def table(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("chosen", "used"), [((), "lstm-0000"), (("--trial", "convlstm-0000"), "convlstm-0000")])
def test_predict_judges_every_frame_with_a_whole_look_back(fishray, run, tank_store, chosen, used):
    said = fishray("predict", run.path, tank_store, "--out", "p.csv", *chosen)
    rows = table("p.csv")
    frames = range(LOOK_BACK - 1, 400)
    assert said == f"p.csv: {3 * len(frames)} frames judged by {used}\n"
    assert [(row["recording"], int(row["frame"])) for row in rows] == [
        (name, frame) for name in ("tank-1", "tank-2", "tank-3") for frame in frames
    ]
    assert rows[0]["time_s"] == "0.767"  # frame 23 at 30 frames per second
    assert all(0 < float(row["probability"]) < 1 for row in rows)
    assert len({row["probability"] for row in rows}) > 10


def another_size(path):
    origin = {"fps": 30.0, "source": "fish.mp4", "source_sha256": "", "settings": {}, "fishray": "0"}
    with new_recording(path, "big", origin) as writer:
        writer.append(np.zeros((60, 48, 64), np.uint8))
        writer.finish(np.zeros(59))


def speed_alone(path):
    origin = {"fps": 30.0, "source": "fish.npy", "source_sha256": "", "settings": {}, "fishray": "0"}
    with new_recording(path, "series", origin) as writer:
        writer.finish(np.zeros(59))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (another_size, "big of other.zarr has frames of 48x64, this trial reads 24x32; ingest it with --size 24x32"),
        (speed_alone, "series of other.zarr holds speed alone; this trial reads frames of 24x32"),
    ],
)
def test_predict_refuses_frames_that_the_trial_cannot_read(run, monkeypatch, capsys, make, words):
    make(Path("other.zarr"))
    Path("p.csv").write_text("earlier")
    command = "fishray predict runs/tiny other.zarr --out p.csv --trial convlstm-0000"
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"fishray: {words}\n"
    assert Path("p.csv").read_text() == "earlier"
    assert sorted(Path().glob("p.csv*")) == [Path("p.csv")]


def test_a_trial_on_speed_judges_recordings_without_frames(fishray, run):
    speed_alone(Path("other.zarr"))
    fishray("predict", "runs/tiny", "other.zarr", "--out", "p.csv")
    assert len(table("p.csv")) == 60 - LOOK_BACK + 1


def test_a_table_that_cannot_be_finished_leaves_the_earlier_one(fishray, run, tank_store, monkeypatch):
    Path("p.csv").write_text("earlier")
    with monkeypatch.context() as broken:
        broken.setattr(NetworkPredictor, "predict", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fishray("predict", run.path, tank_store, "--out", "p.csv")
    assert Path("p.csv").read_text() == "earlier"
