import numpy as np
import pytest

from fishray.signals.quality import CURVE_POINTS, inspect_store
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
        (facts,) = inspect_store(open_store(path), horizon, low_fraction=0.1, range_threshold=0.5)
        return facts

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


def test_every_recording_of_a_store_is_looked_at(tmp_path):
    path = tmp_path / "tank.zarr"
    for name, count in (("tank-2", 5), ("tank-10", 7)):
        with new_recording(path, name, {"fps": 10.0, **ORIGIN}) as writer:
            writer.finish(np.zeros(count))
    facts = inspect_store(open_store(path), 2, 0.1, 0.5)
    assert [(each.name, each.frame_count) for each in facts] == [("tank-2", 6), ("tank-10", 8)]
