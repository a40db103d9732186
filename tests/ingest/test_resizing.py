from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fishray.errors import SettingError
from fishray.ingest.resizing import resize_area, resize_nearest, stored_size


@pytest.mark.parametrize(
    ("source", "stored"),
    [
        ((240, 320), (120, 160)),
        ((1024, 1024), (120, 120)),
        ((1920, 1080), (212, 120)),  # 213.3 is nearer to 212 than to 216
        ((120, 160), (120, 160)),
        ((100, 90), (100, 88)),  # nothing is enlarged
        ((102, 300), (100, 300)),
        ((2, 3), (2, 3)),
        ((4, 4000), (4, 4000)),
    ],
)
def test_the_shorter_side_becomes_120_at_most(source, stored):
    assert stored_size(source) == stored


def test_a_chosen_size_is_taken_as_it_is():
    assert stored_size((240, 320), (50, 61)) == (50, 61)


@pytest.mark.parametrize("size", [(241, 320), (240, 321)])
def test_a_size_that_would_enlarge_is_refused(size):
    with pytest.raises(SettingError, match=r"would enlarge frames of 240x320"):
        stored_size((240, 320), size)


def test_whole_pixels_are_averaged_and_halves_rounded_up():  # (1 + 2 + 3 + 4) / 4 = 2.5
    assert resize_area(np.array([[1, 2], [3, 4]], np.uint8), (1, 1)).tolist() == [[3]]


def test_a_pixel_across_the_border_is_shared():  # (10 + 20 / 2) / 1.5 and (20 / 2 + 40) / 1.5
    assert resize_area(np.array([[10, 20, 40]], np.uint8), (1, 2)).tolist() == [[13, 33]]


def test_the_same_size_changes_nothing():
    frame_hw = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert resize_area(frame_hw, (3, 4)) is frame_hw


def test_nearest_takes_the_pixel_at_the_middle():  # of 4 columns the second and fourth; of 3 rows the middle one
    frame_hw = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert resize_nearest(frame_hw, (1, 2)).tolist() == [[5, 7]]
    assert resize_nearest(frame_hw, (3, 4)).tolist() == frame_hw.tolist()


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_nearest_is_pillows_at_whole_factors(factor):
    frame_hw = np.random.default_rng(0).integers(0, 256, (8 * factor, 5 * factor), dtype=np.uint8)
    pillows = Image.fromarray(frame_hw).resize((5, 8), Image.Resampling.NEAREST)
    assert np.array_equal(resize_nearest(frame_hw, (8, 5)), np.asarray(pillows))


@pytest.mark.shared
def test_nearest_makes_the_published_clips(shared):
    frame_hw = np.asarray(Image.open(shared / "data" / "serpae-tetra" / "frames" / "00000.png"))
    with np.load(shared / "reference" / "keras_convlstm2d_upbeat_snowflake_91.npz") as published:
        assert np.array_equal(resize_nearest(frame_hw, (120, 160)), published["clips"][0, 0])


def test_a_white_picture_stays_white_at_any_size():  # sums of 300 rows of 255 do not fit into 16 bits
    white_hw = np.full((700, 1030), 255, np.uint8)
    for size in [(120, 176), (2, 3), (699, 1029)]:
        assert resize_area(white_hw, size).min() == 255


@settings(deadline=None)
@given(st.data())
def test_every_pixel_is_the_exact_average_of_its_area(data):
    height, width = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    size = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    frame_hw = np.random.default_rng(height * width).integers(0, 256, (height, width), dtype=np.uint8)
    resized = resize_area(frame_hw, size)
    for row in range(size[0]):
        for column in range(size[1]):
            average = sum(
                Fraction(int(frame_hw[i, j]))
                * _overlap(i, row, Fraction(height, size[0]))
                * _overlap(j, column, Fraction(width, size[1]))
                for i in range(height)
                for j in range(width)
            ) * Fraction(size[0] * size[1], height * width)
            assert resized[row, column] == int(average + Fraction(1, 2))


def _overlap(old, new, step):
    return max(Fraction(0), min(Fraction(old + 1), (new + 1) * step) - max(Fraction(old), new * step))
