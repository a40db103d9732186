import numpy as np
import pytest

from fishray.signals.repeats import find_repeats


def moving(speeds, seed=0):
    return np.random.default_rng(seed).uniform(1, 2, speeds)


@pytest.mark.parametrize(
    ("copies", "length"), [(1, 2), (2, 3), (1, 6), (1, 5), (1, 25), (7, 12)], ids=lambda number: str(number)
)
def test_a_converted_frame_rate_repeats_in_a_cycle(copies, length):  # 15, 10, 25, 24 frames per second made 30 …
    speed = moving(1200)
    for copy in range(copies):
        speed[copy::length] = 0
    repeats = find_repeats(speed)
    assert repeats.share == pytest.approx(copies / length)
    assert repeats.cycle == (copies, length)


def test_a_camera_that_fell_behind_repeats_at_irregular_places():
    speed = moving(1000)
    for start, stop in ((100, 104), (333, 340), (700, 702)):
        speed[start:stop] = 0
    repeats = find_repeats(speed)
    assert (repeats.share, repeats.longest, repeats.cycle) == (0.013, 7, None)


def test_a_single_copy_is_no_matter():  # as at the beginning of the published recording
    speed = moving(1000)
    speed[0] = 0
    assert find_repeats(speed) is None


def test_clean_tanks_repeat_nothing(tanks):
    assert [find_repeats(speed) for speed in tanks] == [None, None]


def test_a_still_picture_is_one_long_run():
    repeats = find_repeats(np.zeros(50))
    assert (repeats.share, repeats.longest, repeats.cycle) == (1.0, 50, None)


def test_no_speeds_repeat_nothing():
    assert find_repeats(np.empty(0)) is None
