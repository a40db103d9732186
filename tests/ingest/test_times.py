import numpy as np
import pytest

from fishray.ingest.times import frame_rate


def test_the_stated_rate_is_taken_where_the_frames_keep_it():
    assert frame_rate(np.arange(100) * 1001 / 30000, 30000 / 1001) == (30000 / 1001, None)


@pytest.mark.parametrize(("fps", "clock_s"), [(30, 0.001), (60, 0.001), (120, 0.001), (30, 0.01)])
def test_times_that_a_container_has_rounded_are_constant(fps, clock_s):
    assert frame_rate(np.round(np.arange(1000) / fps / clock_s) * clock_s, fps) == (fps, None)


def test_where_the_stated_rate_is_wrong_the_mean_is_taken():  # 101 frames over 4 s
    assert frame_rate(np.arange(101) * 0.04, 30.0) == (pytest.approx(25), None)
    assert frame_rate(np.arange(101) * 0.04, None) == (pytest.approx(25), None)


@pytest.mark.parametrize("lost", [1, 50, 99])
def test_one_dropped_frame_makes_the_times_irregular(lost):  # 100 frames over 4 s
    times_s = np.delete(np.arange(101) * 0.04, lost)
    fps, kept_s = frame_rate(times_s, 25.0)
    assert fps == pytest.approx(99 / 4)
    assert kept_s is times_s


def test_a_rate_that_drifts_is_irregular():  # 30 to 29 frames per second over an hour
    times_s = np.concatenate([[0], np.cumsum(1 / np.linspace(30, 29, 100_000))])
    fps, kept_s = frame_rate(times_s, 30.0)
    assert fps == pytest.approx(29.5, abs=0.01)
    assert kept_s is not None


def test_without_times_no_rate_is_known():  # of a raw stream FFmpeg says 25, whatever it is
    assert frame_rate(np.empty(0), 25.0) == (None, None)


def test_a_single_frame_has_the_rate_that_is_stated():
    assert frame_rate(np.zeros(1), 25.0) == (25.0, None)
