"""Whatever a person gets wrong: one line that says what, where and what to do, status 2, and nothing has changed."""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
import zarr

from fishray import cli
from fishray.errors import FishrayError
from fishray.store import new_recording

SWEEP = """\
name: mine
data:
  store: tank.zarr
  look_back: 90
  split: {train: 0.6, validation: 0.2, test: 0.2}
labels: {horizon: 10, range_threshold: 0.01}
families:
  lstm:
    trials: 2
    space:
      learning_rate: {loguniform: [0.001, 0.1]}
    resources: {cpus: 1, gpus: 0}
search: {max_epochs: 9}
"""
FRAMES = 1000
ORIGIN = {"fps": 30.0, "source": "fish.npy", "source_sha256": "ab", "settings": {}, "fishray": "0"}

Arrange = Callable[[], None]


def edit(*changes: tuple[str, str]) -> Arrange:
    """Change the sweep file, text for text."""

    def change() -> None:
        text = Path("mine.yaml").read_text()
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        Path("mine.yaml").write_text(text)

    return change


def leave() -> None:
    """All is well with the files."""


def a_newer_store() -> None:
    zarr.open_group("tank.zarr").attrs["format"] = "fishray/2"


def a_series_with_nan() -> None:
    np.save("speed.npy", np.array([0.5, 0.25, np.nan, 0.5]))


def half_a_video(name: str) -> Arrange:
    """Write half of 30 frames of noise, every byte of which is needed."""

    def write() -> None:
        with av.open(name, "w") as container:
            stream = container.add_stream("mpeg4", rate=30)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for frame_hw in np.random.default_rng(0).integers(0, 256, (30, 48, 64), dtype=np.uint8):
                frame = av.VideoFrame.from_ndarray(frame_hw, format="gray")
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
            container.mux(stream.encode())
        whole = Path(name).read_bytes()
        Path(name).write_bytes(whole[: len(whole) // 2])

    return write


def an_empty_video() -> None:
    Path("fish.mp4").touch()


def notes() -> None:
    """Something else where the run is to be."""
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/notes.txt").write_text("three fish")


def a_run_that(sweep: str) -> Arrange:
    """Make a run with this resolved sweep."""

    def write() -> None:
        path = Path("runs/mine")
        path.mkdir(parents=True)
        (path / "journal.jsonl").write_text('{"time":1,"event":"sweep"}\n')
        (path / "sweep.yaml").write_text(sweep)

    return write


@dataclass(frozen=True)
class Case:
    """A mistake, the command that meets it, and what its message must hold."""

    arrange: Arrange
    says: list[str] = field(default_factory=list)
    """In the first line, or one in each line of a fault."""
    command: str = "tune mine.yaml"
    faults: int = 0


CASES = {
    "unknown key": Case(
        edit(("learning_rate", "learnin_rate")),
        ["line 11 families.lstm.space.learnin_rate unknown setting; did you mean learning_rate?"], faults=1,
    ),
    "duplicate key": Case(
        edit(("    trials: 2", "    trials: 2\n    trials: 3")),
        ["line 10 families.lstm.trials stands twice; first on line 9"], faults=1,
    ),
    "wrong type": Case(
        edit(("max_epochs: 9", "max_epochs: nine")),
        ["line 13 search.max_epochs 'nine': must be a valid integer"], faults=1,
    ),
    "several faults": Case(
        edit(("learning_rate", "learnin_rate"), ("train: 0.6", "train: 0.7"), ("max_epochs: 9", "max_epoch: 9")),
        [
            "line 5 data.split train + validation + test = 1.10, must be 1",
            "line 11 families.lstm.space.learnin_rate unknown setting; did you mean learning_rate?",
            "line 13 search.max_epoch unknown setting; did you mean max_epochs?",
        ],
        faults=3,
    ),
    "empty family": Case(
        edit(("  lstm:\n    trials: 2\n    space:\n      learning_rate: {loguniform: [0.001, 0.1]}\n"
              "    resources: {cpus: 1, gpus: 0}\n", "  lstm: {}\n")),
        ["line 8 families.lstm.trials is missing"], faults=1,
    ),
    "family without trials": Case(
        edit(("trials: 2", "trials: 0")), ["line 9 families.lstm.trials 0: must be greater than 0"], faults=1
    ),
    "max_epochs below grace": Case(
        edit(("max_epochs: 9", "max_epochs: 9, grace_epochs: 12")),
        ["line 13 search.grace_epochs 12 is above max_epochs 9"], faults=1,
    ),
    "split not summing to 1": Case(
        edit(("validation: 0.2", "validation: 0.1")),
        ["line 5 data.split train + validation + test = 0.90, must be 1"], faults=1,
    ),
    "overlapping split": Case(
        edit(("{train: 0.6, validation: 0.2, test: 0.2}", "{train: [a, b], validation: [b]}")),
        ["line 5 data.split recording b stands in more than one place; splits must not overlap"], faults=1,
    ),
    "unknown metric": Case(
        edit(("max_epochs: 9", "metric: validation_acu")),
        ["line 13 search.metric 'validation_acu' is not allowed; did you mean validation_auc?"], faults=1,
    ),
    "CPUs that no node here has": Case(
        edit(("cpus: 1", "cpus: 10000")),
        ["families.lstm.resources.cpus", "asks for 10000 CPUs, this machine has ", "; lower it: --set families.lstm."],
    ),
    "GPUs that no node here has": Case(
        edit(("gpus: 0", "gpus: 1000")),
        ["families.lstm.resources.gpus", "asks for 1000 GPUs, this machine has ", "--set families.lstm.resources.gpus"],
    ),
    "missing store": Case(
        edit(("tank.zarr", "tanc.zarr")),
        ["no store at tanc.zarr; make it: fishray ingest VIDEO --store tanc.zarr"],
    ),
    "store of a newer format": Case(
        a_newer_store, ["tank.zarr has the format fishray/2", "upgrade it: pip install --upgrade fishray"]
    ),
    "recording too short": Case(
        edit(("horizon: 10", "horizon: 150")),
        ["fish: its validation piece has 200 frames", "look-back 90 + horizon 150 + 1 = 241", "use a longer recording"],
    ),
    "no positive in a split": Case(
        edit(("range_threshold: 0.01", "range_threshold: 5")),
        ["the train split has no positive label", "lower labels.range_threshold"],
    ),
    "no negative in a split": Case(
        edit(("range_threshold: 0.01", "range_threshold: 0.01, low_fraction: 1.0")),
        ["the train split has no negative label", "raise labels.range_threshold"],
    ),
    "look-back shorter than the published algorithm's": Case(
        edit(("  look_back: 90", "  look_back: 89")),
        ["data.look_back: 89 frames are fewer than the 90 that the published algorithm looks at", "data.look_back=90"],
    ),
    "unknown recording": Case(
        edit(("  look_back: 90", "  look_back: 90\n  recordings: [fisch]")),
        ["no recording fisch in tank.zarr, which holds fish; did you mean fish?"],
    ),
    "pattern that matches nothing": Case(
        edit(("  look_back: 90", "  look_back: 90\n  recordings: [fisch_*]")),
        ["data.recordings: no recording matches fisch_* in tank.zarr, which holds fish; did you mean fish?"],
    ),
    "more folds than recordings": Case(
        edit(("{train: 0.6, validation: 0.2, test: 0.2}", "{by: recording, folds: 3}")),
        ["data.split.folds: 3 folds need 3 recordings, and the sweep has 1 (fish); lower it, ingest more, or split by"],
    ),
    "folds with nothing left beside test": Case(
        edit(("{train: 0.6, validation: 0.2, test: 0.2}", "{by: recording, folds: 2, test: [fish]}")),
        ["2 folds need 2 recordings beside test, and the sweep has 0 (none)"],
    ),
    "folds with shares of time": Case(
        edit(("{train: 0.6, validation: 0.2, test: 0.2}", "{by: recording, folds: 2, test: 0.2}")),
        ["line 5 data.split.test 0.2: must be a list of recordings ([a, day1_*])"], faults=1,
    ),
    "second store that is missing": Case(
        edit(("store: tank.zarr", "store: [tank.zarr, tanc.zarr]")),
        ["no store at tanc.zarr; make it: fishray ingest VIDEO --store tanc.zarr"],
    ),
    "frames for a series": Case(
        edit(("  lstm:", "  convlstm:")), ["fish holds speed alone, but convlstm reads frames; ingest its video"]
    ),
    "series with a NaN": Case(
        a_series_with_nan, ["speed.npy has nan at position 2", "cut the series there, or fill the gap"],
        "ingest speed.npy --store tank.zarr --fps 30",
    ),
    "truncated video": Case(
        half_a_video("fish.mkv"), ["fish.mkv is damaged or cut off after frame ", "copy it again, or re-encode"],
        "ingest fish.mkv --store tank.zarr --name half",
    ),
    "truncated video that has lost its index": Case(
        half_a_video("fish.mp4"), ["fish.mp4 cannot be read as a video", "give a complete video file"],
        "ingest fish.mp4 --store new.zarr",
    ),
    "empty video": Case(
        an_empty_video, ["fish.mp4 cannot be read as a video", "give a complete video file"],
        "ingest fish.mp4 --store new.zarr",
    ),
    "missing video": Case(leave, ["no file or folder at fish.mp4; give a video"], "ingest fish.mp4 --store tank.zarr"),
    "folder that is no run": Case(notes, ["runs/mine is there and is no run; choose another name: --set name=NAME"]),
    "run whose sweep is cut off": Case(a_run_that("name: mine\n"), ["runs/mine/sweep.yaml"]),
    "run whose sweep is empty": Case(a_run_that(""), ["runs/mine/sweep.yaml"]),
    "run whose sweep is no YAML": Case(a_run_that("name: [mine\n"), ["runs/mine/sweep.yaml"]),
    "report of a run whose sweep is cut off": Case(
        a_run_that("name: mine\n"), ["runs/mine/sweep.yaml"], "report runs/mine"
    ),
    "missing sweep file": Case(leave, ["no sweep file at yours.yaml; shipped ones are in sweeps/"], "tune yours.yaml"),
    "unknown family": Case(leave, ["--family gru: the sweep has lstm"], "train mine.yaml --family gru"),
    "unknown setting of a trial": Case(
        leave, ["--set hiden: unknown setting of lstm; did you mean hidden?"],
        "train mine.yaml --family lstm --set hiden=8",
    ),
    "impossible setting of a trial": Case(
        leave, ["--set hidden=0", "greater than 0"], "train mine.yaml --family lstm --set hidden=0"
    ),
    "override without a value": Case(
        leave, ["--set search.max_epochs: write it as key=value"], "tune mine.yaml --set search.max_epochs"
    ),
    "fault in an override": Case(
        leave, ["--set search.max_epochs 'nine': must be a valid integer"],
        "tune mine.yaml --set search.max_epochs=nine", faults=1,
    ),
    "tank of odd height": Case(
        leave, ["no such tank: height 241 must be a multiple of 2"], "simulate t.mp4 --size 241x320"
    ),
    "tank of invisible fish": Case(
        leave, ["no such tank: body_lengths 80 leaves a fish 3.0 pixels of height 240, must leave 4"],
        "simulate t.mp4 --body-lengths 80",
    ),
    "inspect without a store": Case(leave, ["no store at other.zarr; make it: fishray ingest"], "inspect other.zarr"),
    "report without a run": Case(leave, ["no run at runs/other; make one: fishray tune"], "report runs/other"),
    "status without a run": Case(leave, ["no run at runs/other; make one: fishray tune"], "status runs/other"),
    "predict without a run": Case(
        leave, ["no run at runs/other; make one: fishray tune"], "predict runs/other tank.zarr --out p.csv"
    ),
}  # fmt: skip


def tree(folder: Path) -> dict[str, str]:
    """Content of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def speed():
    """Speeds of every kind, so that any split has positives and negatives."""
    return np.random.default_rng(0).exponential(0.1, FRAMES - 1)


@pytest.fixture
def folder(tmp_path, monkeypatch, speed):
    """A folder with a good sweep and its store; the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # which main sets, for itself alone here
    Path("mine.yaml").write_text(SWEEP)
    with new_recording(Path("tank.zarr"), "fish", ORIGIN) as writer:
        writer.finish(speed)
    return tmp_path


@pytest.fixture
def fishray(monkeypatch):
    """Run a command line in this process; the exit status."""

    def run(command: str) -> int:
        monkeypatch.setattr(sys, "argv", ["fishray", *command.split()])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return run


def test_the_sweep_of_these_tests_is_good_until_it_is_spoilt(folder, fishray, capsys):
    assert fishray("tune mine.yaml --dry-run") == 0
    assert "valid frames" in capsys.readouterr().out


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_told_in_a_line_and_changes_nothing(case, folder, fishray, capsys):
    case.arrange()
    before = tree(folder)
    assert fishray(case.command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    first, *rows = err.splitlines()
    assert first.startswith("fishray: ")
    if case.faults:
        assert first.endswith(f": {case.faults} fault{'s' if case.faults > 1 else ''}")
        assert [" ".join(row.split()) for row in rows] == case.says
    else:
        assert rows == []
        assert [words for words in case.says if words not in first] == []
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("place", "command"), [("before", "--debug inspect other.zarr"), ("behind", "inspect other.zarr --debug")]
)
def test_debug_shows_the_traceback_wherever_it_stands(folder, monkeypatch, place, command):
    monkeypatch.setattr(sys, "argv", ["fishray", *command.split()])
    with pytest.raises(FishrayError, match=r"no store at other\.zarr"):
        cli.main()


@pytest.mark.parametrize("command", ["tune", "tune mine.yaml --fast", "ingest fish.mp4 --store t --size big", "fly"])
def test_a_wrong_command_line_is_status_2_with_a_usage(folder, fishray, capsys, command):
    before = tree(folder)
    assert fishray(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: " in err
    assert tree(folder) == before
