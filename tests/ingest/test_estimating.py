import numpy as np
import pytest

from fishray.config.ingest import IngestSettings
from fishray.errors import SettingError
from fishray.ingest import estimating
from fishray.ingest.estimating import estimate, estimated_frames, median_frame, moves_dark, pick, sample_positions
from fishray.ingest.preprocess import Estimates, Preprocessor

GROUND, SIDE = 100, 4


def tank(animal, frames=9, ground=GROUND):
    """A square that moves its own length each frame over an even ground, so that it is nowhere twice."""
    frames_thw = np.full((frames, SIDE, SIDE * frames), ground, np.uint8)
    for position in range(frames):
        frames_thw[position, :, SIDE * position : SIDE * (position + 1)] = animal
    return list(frames_thw)


def estimates_of(sample, **settings):
    height, width = sample[0].shape
    return estimate(
        sample, Preprocessor(IngestSettings(size=(height, width), **settings), Estimates(), (height, width))
    )


def test_frames_are_sampled_in_the_middle_of_equal_pieces():  # 9 frames in 3 pieces
    assert sample_positions(9, frame_bytes=estimating.SAMPLE_BYTES // 3).tolist() == [1, 4, 7]


def test_no_more_frames_are_sampled_than_there_are():
    assert sample_positions(4, frame_bytes=1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("frame_bytes", "count"), [(1, 51), (1280 * 960, 51), (3840 * 2160, 31), (2**40, 3)])
def test_the_sample_fits_into_memory_and_is_odd(frame_bytes, count):
    positions = sample_positions(100_000, frame_bytes)
    assert len(positions) == count
    assert positions.max() < 100_000


@pytest.mark.parametrize(("count", "share", "within"), [(10, 0.6, 6), (101, 0.6, 60), (10, 1.0, 10), (1, 0.2, 1)])
def test_estimates_come_from_a_share_of_whole_frames(count, share, within):
    assert estimated_frames(count, share) == within


def test_a_sample_is_read_no_further_than_its_last_frame():
    read, seen = [], []

    def frames():
        for position in range(100):
            read.append(position)
            yield np.full((1, 1), position, np.uint8)

    sample = pick(frames(), np.array([1, 4]), seen.append)
    assert [int(frame_hw[0, 0]) for frame_hw in sample] == [1, 4]
    assert (read, seen) == (list(range(5)), [2, 5])


def test_the_background_is_the_median_of_each_pixel():
    frames_thw = [np.array([[1, 9]], np.uint8), np.array([[5, 7]], np.uint8), np.array([[3, 8]], np.uint8)]
    assert median_frame(frames_thw).tolist() == [[3, 8]]


def test_of_an_even_number_of_frames_the_lower_middle_one_counts():
    assert median_frame([np.full((1, 1), level, np.uint8) for level in (9, 2, 4, 7)]).tolist() == [[4]]


def test_the_median_is_the_same_in_small_pieces(monkeypatch):
    sample = list(np.random.default_rng(0).integers(0, 256, (7, 10, 12), dtype=np.uint8))
    whole = median_frame(sample)
    monkeypatch.setattr(estimating, "BAND_BYTES", 200)
    assert np.array_equal(median_frame(sample), whole)
    assert np.array_equal(whole, np.median(sample, axis=0))


@pytest.mark.parametrize(("animal", "dark"), [(20, True), (220, False)])
def test_polarity_is_that_of_what_moves(animal, dark):
    sample = tank(animal)
    assert moves_dark(sample, median_frame(sample)) == dark
    assert estimates_of(sample, invert="auto").inverted == dark


def test_bright_animals_on_a_ground_brighter_than_grey_are_not_inverted():  # it is not the mean of the picture
    assert not estimates_of(tank(250, ground=200), invert="auto").inverted


@pytest.mark.parametrize(("invert", "inverted"), [("yes", True), ("no", False)])
def test_polarity_can_be_stated(invert, inverted):
    assert estimates_of(tank(220), invert=invert, background="difference").inverted == inverted


def test_the_background_of_an_inverted_recording_is_inverted():
    estimates = estimates_of(tank(20), invert="auto", background="brighter")
    assert np.unique(estimates.background_hw).tolist() == [255 - GROUND]


def test_no_background_is_kept_where_none_is_subtracted():
    assert estimates_of(tank(20), invert="auto").background_hw is None


def test_the_mean_level_is_that_of_the_sample():  # frames of 100 and 120
    sample = [np.full((2, 2), level, np.uint8) for level in (100, 120)]
    assert estimates_of(sample, normalise_flicker=True).mean_level == 110


def test_flicker_is_levelled_out_before_the_background():
    """Lamps of 80, 100 and 120 over an even ground: all frames are 100, and so is the background."""
    sample = [np.full((2, 2), level, np.uint8) for level in (80, 100, 120)]
    background_hw = estimates_of(sample, normalise_flicker=True, background="difference").background_hw
    assert np.unique(background_hw).tolist() == [100]


def test_contrast_is_that_of_the_percentiles():  # 1 % of pixels each of 0 and 255, the others 50 and 100
    levels = [0] + [50] * 49 + [100] * 49 + [255]
    sample = [np.array(levels, np.uint8).reshape(10, 10)]
    assert estimates_of(sample, contrast=(0, 100)).contrast == (0, 255)
    assert estimates_of(sample, contrast=(2, 99)).contrast == (50, 100)


def test_contrast_is_measured_after_the_background():  # 8 of 9 parts are background, and black
    assert estimates_of(tank(20), background="difference", contrast=(1, 99)).contrast == (0, GROUND - 20)


def test_percentiles_of_one_level_are_refused():
    with pytest.raises(SettingError, match=r"contrast 20,80: both percentiles are grey level 100.*take wider ones"):
        estimates_of(tank(20), contrast=(20, 80))
