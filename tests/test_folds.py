"""Recordings of different rates and sizes in two stores, cross-validated by the command line, with real Ray."""

import csv
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from crashing import Moment, bench_in, left_behind, of, outcome, same
from desk import START_S

from fishray.evaluation.metrics import roc_auc
from fishray.predictors.baselines import Persistence
from fishray.predictors.folded import load_trained
from fishray.sequences import valid_labels
from fishray.sequences.recordings import find_recordings
from fishray.sequences.splits import load_sequences
from fishray.signals.speed import frame_speed
from fishray.store import new_recording

pytestmark = [
    pytest.mark.slow,
    # Frames are read-only on purpose; networks copy from them and never write.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning"),
]

LOOK_BACK, FRAMES = 90, 400
HORIZONS = {30.0: 10, 25.0: 8}
"""Frames of 0.33 s."""
HELD_OUT = ["tank-1", "tank-2", "tank-3"]
SWEEP = {
    "data": {
        "store": ["data/a.zarr", "data/b.zarr"],
        "recordings": ["tank-*", "apart"],
        "split": {"by": "recording", "folds": 3, "test": ["apar?"]},
        "look_back": LOOK_BACK,
    },
    "labels": {"horizon_s": 0.33, "range_threshold": 0.016},
    "families": {
        "lstm": {
            "trials": 2,
            "space": {"learning_rate": {"loguniform": [0.003, 0.05]}},
            "fixed": {"hidden": 4, "steps_per_epoch": 4, "judged_frames": 60, "dropout": 0.2},
        },
        "convlstm": {
            "trials": 1,
            "fixed": {"filters": [2], "downsample": 4, "steps_per_epoch": 2, "judged_frames": 60, "augment": "flips"},
        },
    },
    "search": {"max_epochs": 2, "scheduler": "none"},
    "report": {"leaders": 3, "block_frames": 60, "resamples": 100},
}


def write_recording(store, name, fps, frames_thw):
    origin = {"fps": fps, "source": f"{name}.mp4", "source_sha256": name, "settings": {}, "fishray": "0"}
    with new_recording(store, name, origin) as writer:
        writer.append(frames_thw)
        writer.finish(frame_speed(frames_thw))


@pytest.fixture(scope="module")
def bench(tmp_path_factory, tanks):
    """Three tanks and one apart: one of them at 25 fps, one of them wider; and one that is not chosen."""
    with bench_in(tmp_path_factory.mktemp("folds"), SWEEP) as made:
        first, second = made.desk.folder / "data" / "a.zarr", made.desk.folder / "data" / "b.zarr"
        frames = {name: tank.frames_thw for name, tank in tanks.items()}
        write_recording(first, "tank-1", 30.0, frames["tank-1"])
        write_recording(first, "tank-2", 25.0, frames["tank-2"])
        write_recording(first, "spare", 120.0, frames["tank-2"])
        write_recording(second, "tank-3", 30.0, np.pad(frames["tank-3"], ((0, 0), (0, 0), (0, 8))))
        write_recording(second, "apart", 30.0, np.ascontiguousarray(frames["tank-1"][::-1]))
        yield made


@pytest.fixture(scope="module")
def swept(bench):
    run = bench.run("whole")
    bench.finish(run)
    assert left_behind(bench.desk) == []
    return run


@pytest.fixture
def data(swept, bench, monkeypatch):
    monkeypatch.chdir(bench.desk.folder)
    sweep = swept.resolved()[0]
    read = lambda each: each.read_frames(0, each.frame_count)  # noqa: E731
    return load_sequences(find_recordings(sweep.data), sweep.data, sweep.labels, read)


def fishray(bench, *words):
    """What a command printed that ended well."""
    environment = bench.desk.environment()
    command = [Path(sys.executable).with_name("fishray"), *words]
    return subprocess.run(
        command, cwd=bench.desk.folder, env=environment, capture_output=True, text=True, check=True, timeout=START_S
    ).stdout


def test_each_result_has_the_scores_of_every_fold_and_their_mean(swept):
    results = of(swept, "result")
    assert sorted((each["trial"], each["epoch"]) for each in results) == [
        (trial, epoch) for trial in ("convlstm-0000", "lstm-0000", "lstm-0001") for epoch in (1, 2)
    ]
    for each in results:
        assert len(each["folds"]) == 3
        assert each["validation_auc"] == fmean(fold["auc"] for fold in each["folds"])
    (facts,) = of(swept, "sweep")
    assert facts["folds"] == HELD_OUT
    assert facts["store"] == "a.zarr, b.zarr"
    assert [(each["name"], each["fps"]) for each in facts["recordings"]] == [
        ("tank-1", 30.0), ("tank-2", 25.0), ("tank-3", 30.0), ("apart", 30.0)
    ]  # fmt: skip


def test_baselines_are_refitted_for_each_fold(swept, data):
    (event,) = [each for each in of(swept, "baseline") if each["name"] == "persistence"]
    for fold, scores in zip(data.folds, event["folds"], strict=True):
        fitted = Persistence.fit(fold.train)
        found = [fitted.predict(sequence)[sequence.valid] for sequence in fold.validation]
        assert scores["auc"] == roc_auc(valid_labels(fold.validation), np.concatenate(found))
    assert event["scores"]["auc"] == fmean(scores["auc"] for scores in event["folds"])


def test_every_valid_frame_is_judged_once_by_what_has_not_seen_its_recording(swept, data):
    kept = swept.read_predictions()["validation"]
    expected = [
        (index, frame)
        for index, fps in enumerate((30.0, 25.0, 30.0))
        for frame in range(LOOK_BACK - 1, FRAMES - 1 - HORIZONS[fps])
    ]
    assert kept.recording == tuple(HELD_OUT)
    assert list(zip(kept.recording_index.tolist(), kept.frame.tolist(), strict=True)) == expected
    assert np.array_equal(kept.label, valid_labels(data.validation))
    for trial in ("lstm-0000", "lstm-0001", "convlstm-0000"):
        networks = load_trained(swept.best_path(trial)).networks
        for number, (network, fold) in enumerate(zip(networks, data.folds, strict=True)):
            (held_out,) = fold.validation
            again = network.predict(held_out)[held_out.valid]
            assert kept.probability[trial][kept.recording_index == number] == pytest.approx(again, abs=1e-5)


def test_on_test_it_is_the_mean_of_the_folds(swept, data):
    kept = swept.read_predictions()["test"]
    assert kept.recording == ("apart",)
    (apart,) = data.test
    for trial in ("lstm-0000", "convlstm-0000"):
        each = [network.predict(apart)[apart.valid] for network in load_trained(swept.best_path(trial)).networks]
        assert kept.probability[trial] == pytest.approx(np.mean(each, axis=0), abs=1e-5)
        assert np.ptp(each, axis=0).max() > 0


def test_the_report_shows_means_spreads_and_folds(swept, bench):
    text = fishray(bench, "report", "runs/whole")
    assert "3 folds" in text
    assert "validation AUC by fold" in text
    assert all(title in text for title in HELD_OUT)
    assert " ± " in text
    assert "Note: recordings of 25 and 30 fps" in " ".join(text.split())
    header, *rows = csv.reader(fishray(bench, "report", "runs/whole", "--csv").splitlines())
    assert [name for name in header if name.startswith("fold.")] == [f"fold.{title}" for title in HELD_OUT]
    assert len(rows) == 6


def test_predict_is_the_mean_of_the_folds_on_frames_of_every_size_that_it_knows(bench, swept):
    said = fishray(bench, "predict", "runs/whole", "data/b.zarr", "--out", "p.csv", "--trial", "convlstm-0000")
    frames = 2 * (FRAMES - LOOK_BACK + 1)
    assert said == f"p.csv: {frames} frames judged by convlstm-0000 (mean of its 3 folds)\n"


def test_a_replay_is_equal_to_the_journal(bench, swept):
    words = fishray(bench, "replay", "runs/whole", "lstm-0001").splitlines()
    assert words[-1] == "equal to the journal in all 2 epochs"


def test_a_dry_run_counts_every_fold(bench, swept):
    text = fishray(bench, "tune", "whole.yaml", "--dry-run", "--set", "name=planned")
    assert "a network for each, held out: tank-1 | tank-2 | tank-3" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith(" lstm ")]
    assert row[1:4] == ["2", "117", "12"]  # 4 steps in each of 3 folds


def test_a_sweep_that_was_killed_equals_one_left_alone(bench, swept):
    run = bench.run("killed")
    crashes = [bench.crash(run, Moment("checkpoint-rename:2")), bench.crash(run, Moment("best-write:1"))]
    assert [crash.doing for crash in crashes] == ["checkpoint-rename", "best-write"]
    bench.finish(run)
    assert [crash.lost for crash in crashes] == [{}, {}]
    assert outcome(run).unequal(outcome(swept)) == []
    folds = [{(each["trial"], each["epoch"]): each["folds"] for each in of(one, "result")} for one in (run, swept)]
    assert same(*folds)
