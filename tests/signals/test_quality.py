import numpy as np
import pytest

from fishray.config.sweep import LabelSettings
from fishray.errors import StoreError
from fishray.signals.quality import CURVE_POINTS, PIECE_CHUNKS, PIECES, inspect_store
from fishray.signals.thresholds import suggest_threshold
from fishray.store import new_recording, open_store

ORIGIN = {"source": "fish.mp4", "source_sha256": "ab", "settings": {}, "fishray": "0"}


@pytest.fixture
def inspect(tmp_path):
    """Look at one recording of known speeds, with labels of a horizon of 2 frames."""

    def look(speed, frames_thw=None, fps=10.0, horizon=2):
        path = tmp_path / "tank.zarr"
        with new_recording(path, "tank", {"fps": fps, **ORIGIN}) as writer:
            if frames_thw is not None:
                writer.append(frames_thw)
            writer.finish(np.asarray(speed, np.float64))
        return inspect_store(open_store(path), LabelSettings(horizon=horizon, range_threshold=0.5)).recordings[0]

    return look


def test_length_and_size_are_those_of_the_recording(inspect):
    facts = inspect(np.zeros(49), np.zeros((50, 4, 6), np.uint8), fps=25.0)
    assert (facts.name, facts.frame_count, facts.fps, facts.duration_s, facts.frame_size) == ("tank", 50, 25, 2, (4, 6))


def test_disk_is_the_sum_of_the_recordings_files(inspect, tmp_path):
    facts = inspect(np.zeros(49), np.zeros((50, 4, 6), np.uint8))
    files = [path for path in (tmp_path / "tank.zarr" / "tank").rglob("*") if path.is_file()]
    assert facts.disk_bytes == sum(len(path.read_bytes()) for path in files) > 0


def test_a_series_alone_has_no_frame_size(inspect):
    facts = inspect([0.5, 0.25, 0.0])
    assert (facts.frame_size, facts.frame_count) == (None, 4)


def test_quantiles_are_those_of_the_speed(inspect):
    assert inspect(np.arange(21) / 4).speed_quantiles == (0.25, 2.5, 4.75, 5.0)  # the 2nd, 11th, 20th and 21st of 21


def test_the_curve_is_the_mean_over_equal_pieces(inspect):
    facts = inspect(np.repeat(np.arange(CURVE_POINTS), 3))
    assert facts.speed_curve == tuple(range(CURVE_POINTS))


def test_a_short_series_has_a_point_for_each_speed(inspect):
    assert inspect([0.5, 0.25, 0.0]).speed_curve == (0.5, 0.25, 0.0)


def test_positives_are_a_share_of_the_frames_whose_label_is_defined(inspect):
    # A burst to 1 is 2 ahead of the first frame and 1 ahead of the second; the last 3 of 7 frames have no label.
    facts = inspect([0, 0, 1, 0, 0, 0])
    assert (facts.positives, facts.events) == (2 / 4, 1)


def test_events_are_runs_of_positives_also_at_the_very_beginning(inspect):
    # Labels: 1 1 0 1 1 0 - then three without: each run of two precedes a burst.
    facts = inspect([0, 0, 1, 0, 0, 1, 0, 0])
    assert (facts.events, facts.positives) == (2, 4 / 6)


def test_where_no_label_is_defined_there_is_no_share(inspect):
    facts = inspect([0.0, 1.0], horizon=2)
    assert (facts.positives, facts.events) == (None, 0)


@pytest.fixture
def store_of(tmp_path):
    """Make a store of speed series."""

    def make(fps=10.0, **series):
        for name, speed in series.items():
            with new_recording(tmp_path / "tank.zarr", name, {"fps": fps, **ORIGIN}) as writer:
                writer.finish(np.asarray(speed, np.float64))
        return open_store(tmp_path / "tank.zarr")

    return make


def test_every_recording_of_a_store_is_looked_at(store_of):
    facts = inspect_store(store_of(**{"tank-10": np.zeros(7), "tank-2": np.zeros(5)}), LabelSettings()).recordings
    assert [(each.name, each.frame_count) for each in facts] == [("tank-2", 6), ("tank-10", 8)]


def test_chosen_recordings_alone_are_looked_at(store_of):
    store = store_of(a=np.zeros(7), b=np.zeros(5))
    assert [each.name for each in inspect_store(store, LabelSettings(), ["b"]).recordings] == ["b"]
    with pytest.raises(StoreError, match=r"no recording c in .*which holds a, b"):
        inspect_store(store, LabelSettings(), ["c"])


def test_an_empty_store_has_nothing_to_suggest(store_of):
    inspection = inspect_store(store_of(a=np.zeros(7)), LabelSettings(range_threshold="auto"), [])
    assert (inspection.recordings, inspection.suggested, inspection.range_threshold) == ((), None, 0.0)


def test_a_horizon_in_seconds_follows_the_frame_rate(store_of):
    inspection = inspect_store(store_of(fps=20.0, a=np.zeros(99)), LabelSettings(horizon_s=1.5))
    assert inspection.recordings[0].horizon == 30


def test_auto_is_what_the_first_part_of_all_recordings_suggests(store_of, tanks):
    store = store_of(a=tanks[0], b=3 * tanks[1])
    inspection = inspect_store(store, LabelSettings(range_threshold="auto"))
    train = [(tanks[0][:2159], 45), (3 * tanks[1][:2159], 45)]  # 60 % of 3,600 frames, and the speeds between them
    assert inspection.range_threshold == inspection.suggested.value == suggest_threshold(train).value
    assert inspection.recordings[0].suggested == suggest_threshold(train[:1])


def test_no_later_speed_changes_what_is_suggested(store_of, tanks):
    changed = tanks[0].copy()
    changed[2159:] = 1
    store = store_of(a=tanks[0], b=changed)
    one, other = inspect_store(store, LabelSettings()).recordings
    assert one.suggested == other.suggested


def test_findings_stand_by_their_recording(store_of, tanks):
    damaged = tanks[0].copy()
    damaged[24::25] += 0.005
    one, other = inspect_store(store_of(clean=tanks[0], damaged=damaged), LabelSettings()).recordings
    assert [[finding.kind for finding in each.findings] for each in (one, other)] == [[], ["spikes"]]


def test_flicker_of_a_long_recording_is_found_in_pieces_of_it(tmp_path):
    frames = 2 * PIECES * PIECE_CHUNKS * 120
    light_t = (100 + 10 * np.sin(2 * np.pi * np.arange(frames) / 6)).astype(np.uint8)
    with new_recording(tmp_path / "tank.zarr", "tank", {"fps": 30.0, **ORIGIN}) as writer:
        writer.append(np.broadcast_to(light_t[:, None, None], (frames, 2, 2)))
        writer.finish(np.full(frames - 1, 0.01))
    (facts,) = inspect_store(open_store(tmp_path / "tank.zarr"), LabelSettings()).recordings
    assert [finding.kind for finding in facts.findings if finding.kind == "flicker"] == ["flicker"]
    assert facts.findings[0].numbers["period"] == pytest.approx(6, rel=0.001)
