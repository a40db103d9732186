import numpy as np
import pytest

from fishray.config.ingest import IngestSettings
from fishray.errors import SettingError
from fishray.ingest.selection import select


class Counter:
    """A source whose frames show their own number."""

    path = "fish.mp4"

    def __init__(self, frame_count=10, fps=10.0, times_s=None, tells_count=True):
        self._count = frame_count
        self.frame_count = frame_count if tells_count else None
        self.fps = fps
        self.times_s = None if times_s is None else np.array(times_s)

    def frames(self, start=0):
        for position in range(start, self._count):
            yield np.full((1, 1), position, np.uint8)


def numbers(reader, first=0, **settings):
    selection = select(reader, IngestSettings(**settings))
    found = [int(frame_hw[0, 0]) for frame_hw in selection.frames(reader, first)]
    assert selection.frame_count(len(found) and reader._count) == len(found) + first
    return found


def test_without_a_word_it_is_every_frame():
    assert numbers(Counter()) == list(range(10))


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (3, 6, [3, 4, 5]),
        (None, 4, [0, 1, 2, 3]),
        (7, None, [7, 8, 9]),
        ("0.3s", "0.6s", [3, 4, 5]),
        ("0.25s", "0:00.55", [3, 4, 5]),  # from the first frame at or after a time to the last before one
        (7, 100, [7, 8, 9]),
    ],
)
def test_frames_are_chosen_by_number_or_time(start, stop, expected):
    assert numbers(Counter(), start=start, stop=stop) == expected
    assert numbers(Counter(tells_count=False), start=start, stop=stop) == expected


def test_times_are_those_of_the_frames_where_they_are_not_evenly_spaced():
    reader = Counter(5, times_s=[0, 0.1, 0.5, 0.6, 0.7])
    assert numbers(reader, start="0.2s", stop="0.65s") == [2, 3]
    times_s = select(reader, IngestSettings(start="0.2s")).times_s
    assert times_s.tolist() == pytest.approx([0, 0.1, 0.2])


def test_a_stated_rate_takes_the_place_of_times():  # at 20 per second, 0.1 s is frame 2
    reader = Counter(5, times_s=[0, 0.1, 0.5, 0.6, 0.7])
    selection = select(reader, IngestSettings(fps=20, start="0.1s"))
    assert (selection.fps, selection.start, selection.times_s) == (20, 2, None)


def test_the_rate_of_uneven_times_is_the_mean_one():  # 4 intervals in 0.8 s
    assert select(Counter(5, times_s=[0, 0.1, 0.5, 0.6, 0.8]), IngestSettings()).fps == pytest.approx(5)


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (5.0, [0, 2, 4, 6, 8]),
        (20.0, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]),
        (4.0, [0, 2, 5, 7]),  # ticks at 0, 0.25, 0.5, 0.75: frames at 0.2, 0.5, 0.7 are the last that are not later
        (10.0, list(range(10))),
    ],
)
def test_resampling_takes_the_nearest_earlier_frame_at_each_tick(fps, expected):
    assert numbers(Counter(), resample=fps) == expected
    assert numbers(Counter(tells_count=False), resample=fps) == expected


def test_uneven_frames_are_resampled_by_their_times():
    """Ticks at 0, 0.1, ... 0.6: the frame of 0.1 lasts until 0.35, the one of 0.4 until the last at 0.6."""
    reader = Counter(5, times_s=[0, 0.1, 0.35, 0.4, 0.6])
    assert numbers(reader, resample=10.0) == [0, 1, 1, 1, 3, 3, 4]
    assert select(reader, IngestSettings(resample=10.0)).times_s is None


def test_resampling_begins_at_the_first_chosen_frame():
    reader = Counter(5, times_s=[0, 0.1, 0.35, 0.4, 0.6])
    assert numbers(reader, start=1, resample=10.0) == [1, 1, 1, 3, 3, 4]  # 0.1, 0.2, 0.3, 0.4, 0.5, 0.6


def test_times_rounded_to_milliseconds_count_as_at_the_tick():  # 1/30 s is 0.033, 2/30 s is 0.067
    times_s = np.round(np.arange(9) / 30, 3)
    assert numbers(Counter(9, 30.0, times_s), resample=30.0) == list(range(9))


def test_at_a_thousand_frames_per_second_no_later_frame_is_taken():
    assert numbers(Counter(10, 1000.0), resample=500.0) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("settings", [{}, {"resample": 7.0}, {"start": 2, "stop": 9}, {"start": 1, "resample": 23.0}])
@pytest.mark.parametrize("times_s", [None, [0, 0.1, 0.35, 0.4, 0.6, 0.61, 0.62, 0.9, 1, 1.1]])
def test_it_can_be_entered_at_any_frame(settings, times_s):
    reader = Counter(times_s=times_s)
    whole = numbers(reader, **settings)
    for first in range(len(whole)):
        assert numbers(reader, first, **settings) == whole[first:]


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (5, 6), (9, None), ("2s", None), (None, 1)])
def test_a_choice_of_fewer_than_two_frames_is_refused(start, stop):
    with pytest.raises(SettingError, match=r"leave no two frames of fish.mp4, which has 10 frames; choose others"):
        select(Counter(), IngestSettings(start=start, stop=stop))
