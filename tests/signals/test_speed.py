import numpy as np
import pytest

from fishray.errors import RecordingError
from fishray.signals.speed import SpeedMeter, frame_speed


def test_darkening_counts_as_motion():  # uint8 subtraction would wrap to 156
    frames_thw = np.array([200, 100], np.uint8).reshape(2, 1, 1)
    assert frame_speed(frames_thw) == pytest.approx([100 / 255])


def test_speed_is_the_mean_over_pixels():  # changes of 10, 0, 0 and 30 grey levels
    frames_thw = np.array([[[10, 5], [7, 0]], [[20, 5], [7, 30]]], np.uint8)
    assert frame_speed(frames_thw) == pytest.approx([40 / 4 / 255])


def test_element_t_compares_frames_t_and_t_plus_1():
    frames_thw = np.array([0, 0, 51, 51], np.uint8).reshape(4, 1, 1)
    assert frame_speed(frames_thw) == pytest.approx([0, 0.2, 0])


def test_black_to_white_is_one_at_any_size():  # the sum is above 2**32
    frames_thw = np.zeros((2, 4200, 4200), np.uint8)
    frames_thw[1] = 255
    assert frame_speed(frames_thw) == [1.0]


def test_one_frame_has_no_speed():
    with pytest.raises(RecordingError, match="compares two frames, and there are 1"):
        frame_speed(np.zeros((1, 2, 2), np.uint8))


def test_frames_one_at_a_time_give_the_same_bits():
    frames_thw = np.random.default_rng(0).integers(0, 256, (20, 7, 9), dtype=np.uint8)
    meter = SpeedMeter()
    for frame_hw in frames_thw:
        meter.see(frame_hw)
    plain = np.abs(np.diff(frames_thw.astype(np.int64), axis=0)).sum(axis=(1, 2)) / (255 * 63)
    assert meter.speed.tobytes() == frame_speed(frames_thw).tobytes() == plain.tobytes()
