"""What is refused before a sweep starts, where it takes data to see it."""

from pathlib import Path

import numpy as np
import pytest

from fishray.config.loader import load_sweep
from fishray.errors import RecordingError, StoreError
from fishray.store import annotate, new_recording, open_store
from fishray.tuning.plan import describe
from fishray.tuning.preparation import SIMULATED, prepare, prepare_store

TANK = """
data: {store: tank.zarr, simulate: {minutes: 0.1, fish: 2, height: 48, width: 64}}
families: {lstm: {trials: 1}}
"""


FOLDS = """
data: {store: days.zarr, look_back: 90, split: {by: recording, folds: 2}}
labels: {horizon_s: 0.5, range_threshold: RULE}
families: {lstm: {trials: 1}}
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep on a tank of six seconds, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(TANK)
    return tmp_path / "sweep.yaml"


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Prepare a sweep on two days with these frame rates and this threshold."""
    monkeypatch.chdir(tmp_path)

    def make(rates, threshold="auto"):
        for day, fps in enumerate(rates, start=1):
            origin = {"fps": fps, "source": "day", "source_sha256": str(day), "settings": {}, "fishray": "0"}
            with new_recording(Path("days.zarr"), f"day{day}", origin) as writer:
                starts = np.random.default_rng(0).permutation([day * 0.01] * 30 + [0] * 469)
                writer.finish(np.convolve(starts, np.hanning(22), "same"))  # smooth: a threshold of noise is refused
        Path("folds.yaml").write_text(FOLDS.replace("RULE", str(threshold)))
        return prepare(load_sweep(Path("folds.yaml")), silent)

    return make


@pytest.fixture
def estimated(prepared):
    """Prepare a sweep whose first day was ingested by estimates from so many of its frames."""

    def make(frames, split):
        if not Path("days.zarr").exists():
            prepared((30.0, 30.0), 0.005)
        annotate(Path("days.zarr"), "day1", estimates={"frames": frames})
        return prepare(load_sweep(Path("folds.yaml"), [f"data.split={split}"]), silent)

    return make


def silent(*_):
    pass


def test_a_tank_is_simulated_once(sweep):
    calls = []
    for _ in range(2):
        prepare_store(load_sweep(sweep), lambda what, done, total: calls.append((what, done == total)))
        assert open_store(sweep.with_name("tank.zarr")).recording("tank").frame_count == 180  # 6 s at 30 fps
    assert [what for what, whole in calls if whole] == ["simulating a tank", "ingesting it"]


def test_another_tank_than_the_one_in_the_store_is_refused(sweep):
    def made():
        prepare_store(load_sweep(sweep), silent)
        return open_store(sweep.with_name("tank.zarr")).fingerprint(["tank"])

    first = made()
    with pytest.raises(StoreError, match=r"seed 0, not 3.*--set data\.store=tank-2\.zarr"):
        prepare_store(load_sweep(sweep, ["data.simulate.seed=3"]), silent)
    assert made() == first


def test_different_frame_rates_are_noted(prepared):
    (note,) = prepared((25.0, 30.0), 0.005).notes
    assert note.startswith("recordings of 25 and 30 fps: look_back, steps and speeds count frames")


def test_one_frame_rate_and_a_given_threshold_need_no_note(prepared):
    assert prepared((30.0, 30.0), 0.005).notes == ()


def test_thresholds_of_folds_are_noted(prepared):
    made = prepared((30.0, 30.0))
    first, second = (fold.range_threshold for fold in made.sequences.folds)
    assert first > second  # from the other day: the second is faster
    assert f"({second:.3g} to {first:.3g})" in made.notes[0]


def test_a_plan_counts_the_steps_of_every_fold(prepared):
    plan = describe(prepared((30.0, 30.0)))
    assert plan.folds == ("day1", "day2")
    assert plan.families[0].steps_per_epoch == (200, 200)  # 100 for each
    assert plan.valid_frames.keys() == {"validation"}


def test_a_tank_of_a_fishray_that_knew_fewer_settings_is_another_tank(sweep):
    prepare_store(load_sweep(sweep), silent)
    made = open_store(sweep.with_name("tank.zarr"))
    older = dict(made.recording("tank").attributes[SIMULATED])
    del older["arena"]
    annotate(made.path, "tank", **{SIMULATED: older})
    with pytest.raises(StoreError, match="arena None, not rectangle"):
        prepare_store(load_sweep(sweep), silent)


def test_estimates_may_not_reach_into_validation(estimated):
    shares = "{train: 0.5, validation: 0.5}"  # of 500 frames
    assert estimated(250, shares).notes == ()
    with pytest.raises(RecordingError, match=r"validation split begins at frame 250.*--estimate-from 0\.5,"):
        estimated(251, shares)


def test_estimates_of_a_recording_that_is_held_out_whole_are_noted(estimated):
    (note,) = estimated(300, "{by: recording, folds: 2}").notes
    assert note.startswith("day1: held out whole")
