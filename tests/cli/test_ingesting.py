"""The command ingest: several sources, a settings file, and what it says."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fishray import cli
from fishray.store import open_store

STORE = Path("tank.zarr")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two folders of five images, whose columns all differ, and one of a single image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # which main sets, for itself alone here
    for name, frames in (("monday", 5), ("tuesday", 5), ("short", 1)):
        Path(name).mkdir()
        for position in range(frames):
            frame_hw = np.arange(96, dtype=np.uint8).reshape(8, 12) + 10 * position
            Image.fromarray(frame_hw).save(f"{name}/{position}.png")


@pytest.fixture
def fishray(folder, monkeypatch, capsys):
    """Run a command line in this process; exit status, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fishray", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def recording(name="monday"):
    return open_store(STORE).recording(name)


def test_several_sources_become_recordings(fishray):
    status, out, _ = fishray("ingest", "monday", "tuesday", "--store", STORE, "--fps", 25)
    assert status == 0
    assert out.splitlines() == [
        "monday: 5 frames at 25 fps, frames of 8x12",
        "tuesday: 5 frames at 25 fps, frames of 8x12",
        "Next: fishray inspect tank.zarr",
    ]
    assert open_store(STORE).names == ("monday", "tuesday")


def test_one_that_fails_does_not_stop_the_others_and_is_told_at_the_end(fishray):
    status, out, err = fishray("ingest", "short", "missing.mp4", "monday", "--store", STORE, "--fps", 25)
    assert status == 2
    assert out.splitlines()[-1] == "1 of 3 recordings are in tank.zarr; failed: short, missing.mp4"
    assert [line for line in err.splitlines() if line.startswith("fishray: ")] == [
        "fishray: short holds a single frame; a speed compares two",
        "fishray: no file or folder at missing.mp4; give a video, a folder of images, a stack of frames or a series of "
        "speeds",
    ]
    assert open_store(STORE).names == ("monday",)


def test_what_is_there_already_is_said_and_is_no_failure(fishray):
    fishray("ingest", "monday", "--store", STORE, "--fps", 25)
    status, out, _ = fishray("ingest", "monday", "tuesday", "--store", STORE, "--fps", 25)
    assert status == 0
    assert "recording monday is already there in tank.zarr, from the same source and settings; left unchanged" in out


def test_every_option_reaches_the_recording(fishray):
    words = "--fps 20 --start 1 --stop 0.25s --resample 20 --region 2,0,8,6 --normalise-flicker --invert yes"
    words += " --background difference --repair-spikes --size 3x4 --interpolation nearest --contrast 0.5,99.5"
    status, _, err = fishray("ingest", "monday", "--store", STORE, *words.split(), "--estimate-from", 0.9)
    assert (status, [line for line in err.splitlines() if line.startswith("fishray")]) == (0, [])
    assert recording().attributes["settings"] == {
        "fps": 20,
        "start": 1,
        "stop": "0.25s",
        "resample": 20,
        "region": [2, 0, 8, 6],
        "normalise_flicker": True,
        "invert": "yes",
        "background": "difference",
        "repair_spikes": True,
        "size": [3, 4],
        "interpolation": "nearest",
        "contrast": [0.5, 99.5],
        "estimate_from": 0.9,
        "drop_placeholder": False,
    }
    assert (recording().frame_count, recording().frame_size, recording().fps) == (4, (3, 4), 20)


def test_a_settings_file_makes_it_repeatable(fishray):
    Path("ingest.yaml").write_text(
        "store: tank.zarr\nfps: 25\nsize: [4, 6]\nrecordings:\n  - source: monday\n"
        "  - {source: tuesday, name: second, start: 2}\n"
    )
    status, out, _ = fishray("ingest", "--settings", "ingest.yaml")
    assert (status, out.splitlines()[:2]) == (
        0,
        ["monday: 5 frames at 25 fps, frames of 4x6", "second: 3 frames at 25 fps, frames of 4x6"],
    )


def test_an_option_replaces_what_the_file_says(fishray):
    Path("ingest.yaml").write_text("store: other.zarr\nnormalise_flicker: true\nfps: 25\n")
    words = ("--settings", "ingest.yaml", "--store", STORE, "--fps", 10, "--no-normalise-flicker")
    assert fishray("ingest", "monday", *words)[0] == 0
    assert (recording().fps, recording().attributes["settings"]["normalise_flicker"]) == (10, False)


def test_faults_of_a_settings_file_are_told_with_their_lines(fishray):
    Path("ingest.yaml").write_text("store: tank.zarr\nregoin: [0, 0, 1, 1]\n")
    status, out, err = fishray("ingest", "monday", "--settings", "ingest.yaml")
    assert (status, out) == (2, "")
    assert [" ".join(line.split()) for line in err.splitlines()] == [
        "fishray: ingest.yaml: 1 fault",
        "line 2 regoin unknown setting; did you mean region?",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--size 8", "HEIGHTxWIDTH"),
        ("--region 1,2,3", "X,Y,WIDTH,HEIGHT"),
        ("--region 1,2,3,0", "width and height"),
        ("--contrast 99,1", "the lower one first"),
        ("--start soon", "must be a frame (1200) or a time"),
        ("--invert perhaps", "'no', 'yes' or 'auto'"),
        ("--background median", "'none', 'difference' or 'brighter'"),
        ("--estimate-from 2", "less than or equal to 1"),
    ],
)
def test_a_wrong_value_is_told_with_its_option(fishray, words, says):
    status, out, err = fishray("ingest", "monday", "--store", STORE, *words.split())
    said = " ".join(err.replace("│", " ").split())
    assert (status, out) == (2, "")
    assert words.split()[0] in said
    assert says in said
    assert not STORE.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("monday", "say into which store"),
        ("--store tank.zarr", "nothing to ingest; give a video, or a settings file that lists recordings"),
        ("monday tuesday --store tank.zarr --name one", "name one is for one recording, and there are 2"),
    ],
)
def test_what_cannot_be_begun_says_why(fishray, words, says):
    status, out, err = fishray("ingest", *words.split())
    assert (status, out) == (2, "")
    assert says in " ".join(err.replace("│", " ").split())
    assert not STORE.exists()


def test_ctrl_c_says_how_to_go_on(fishray, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fishray.ingest.writing.ingest", interrupt)
    status, out, _ = fishray("ingest", "monday", "--store", STORE)
    assert status == 130
    assert out == "Stopped; what is on disk is kept. Go on: fishray ingest monday --store tank.zarr\n"
