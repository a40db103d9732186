import numpy as np
import pytest

from fishray.config.ingest import IngestSettings
from fishray.errors import SettingError
from fishray.ingest.preprocess import Estimates, Preprocessor, scale_to_mean, stretch, subtract

NONE = Estimates()


def frame(*rows):
    return np.array(rows, np.uint8)


def preprocessor(source_size, estimates=NONE, **settings):
    return Preprocessor(IngestSettings(**settings), estimates, source_size)


def test_a_frame_is_scaled_to_a_mean():  # of 100 to 120: 50 becomes 60, 150 becomes 180
    assert scale_to_mean(frame([50, 150]), 120).tolist() == [[60, 180]]


def test_what_would_be_brighter_than_white_is_white():
    assert scale_to_mean(frame([0, 200]), 150).tolist() == [[0, 255]]


def test_a_black_frame_stays_black():
    assert scale_to_mean(frame([0, 0]), 120).tolist() == [[0, 0]]


def test_a_lamp_that_flickers_is_levelled_out():  # 20 % more light, and 10 % less
    scene_hw = frame([10, 100], [50, 200])
    for light in (1.2, 0.9):
        lit_hw = (scene_hw * light).astype(np.uint8)
        assert np.abs(scale_to_mean(lit_hw, 90.0).astype(int) - scene_hw).max() <= 1


def test_the_difference_to_the_background_has_no_sign():
    assert subtract(frame([100, 30, 60]), frame([60, 60, 60])).tolist() == [[40, 30, 0]]


def test_brighter_leaves_out_what_is_darker_than_the_background():
    assert subtract(frame([100, 30, 60]), frame([60, 60, 60]), brighter=True).tolist() == [[40, 0, 0]]


def test_contrast_is_stretched_between_two_levels():  # (60 - 50) / (100 - 50) of 255
    assert stretch(frame([40, 50, 60, 100, 120]), 50, 100).tolist() == [[0, 0, 51, 255, 255]]


def test_a_region_is_left_top_width_height():
    frame_hw = np.arange(20, dtype=np.uint8).reshape(4, 5)
    kept = preprocessor((4, 5), region=(1, 2, 3, 2))
    assert kept.prepare(frame_hw).tolist() == [[11, 12, 13], [16, 17, 18]]
    assert kept.size == (2, 3)


@pytest.mark.parametrize("region", [(3, 0, 3, 4), (0, 1, 5, 4)])
def test_a_region_beyond_the_picture_is_refused(region):
    with pytest.raises(SettingError, match=r"reaches beyond frames 5 wide and 4 high; choose one inside"):
        preprocessor((4, 5), region=region)


def test_the_stored_size_follows_from_the_region():  # 240 x 480 in a picture of 960 x 1280: half of it
    assert preprocessor((960, 1280), region=(0, 0, 480, 240)).size == (120, 240)


def test_everything_is_done_in_the_order_of_the_settings():
    """Region 100 and 50, of mean 75, to be 150: 200, 100; inverted 55, 155; above a background of 50: 5, 105."""
    estimates = Estimates(150.0, True, (5, 55), np.full((1, 2), 50, np.uint8))
    every = preprocessor((2, 2), estimates, region=(0, 1, 2, 1), background="brighter", size=(1, 1))
    prepared_hw = every.prepare(frame([0, 255], [100, 50]))
    assert prepared_hw.tolist() == [[5, 105]]
    assert every.finish(prepared_hw).tolist() == [[255]]  # their mean, 55, is white


def test_nothing_is_done_unless_asked_for():
    frame_hw = np.random.default_rng(0).integers(0, 256, (8, 12), dtype=np.uint8)
    plain = preprocessor((8, 12))
    assert np.array_equal(plain.finish(plain.prepare(frame_hw)), frame_hw)


def test_estimates_survive_a_recordings_attributes():
    background_hw = frame([1, 2])
    estimates = Estimates(103.25, True, (3, 200), background_hw)
    assert Estimates.of_attributes(estimates.to_attributes(), background_hw) == estimates
