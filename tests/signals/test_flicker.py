import numpy as np
import pytest

from fishray.signals.flicker import find_flicker
from fishray.signals.speed import frame_speed

FRAMES = np.arange(1200)


def lit(frames_thw, gain_t):
    """Frames under a light that varies."""
    return np.clip(frames_thw * gain_t[:, None, None] + 0.5, 0, 255).astype(np.uint8)


def flicker_of(frames_thw):
    return find_flicker([frames_thw.mean(axis=(1, 2))], frame_speed(frames_thw))


@pytest.fixture(scope="module")
def bright_films(films):
    """The tanks with a floor of gravel, which shows a light that black does not."""
    floor_hw = np.random.default_rng(0).integers(60, 121, films[0].shape[1:], np.uint8)
    return [np.maximum(film[:1200], floor_hw) for film in films]


@pytest.mark.parametrize("period", [2.5, 3, 7.3, 12, 40])
def test_flicker_is_found_with_its_period(bright_films, period):
    for film in bright_films:
        flicker = flicker_of(lit(film, 1 + 0.05 * np.sin(2 * np.pi * FRAMES / period)))
        assert flicker.period == pytest.approx(period, rel=0.005)
        assert flicker.added > 0.5


def test_flicker_of_a_black_tank_is_found_where_it_matters(films):
    strong, weak = (lit(films[0][:1200], 1 + size * np.sin(2 * np.pi * FRAMES / 3)) for size in (0.1, 0.01))
    assert flicker_of(strong).period == pytest.approx(3, rel=0.001)
    assert flicker_of(weak) is None


def test_light_that_jumps_has_no_period(bright_films):
    gain_t = np.random.default_rng(0).normal(1, 0.02, 1200)
    flicker = flicker_of(lit(bright_films[0], gain_t))
    assert flicker.period is None
    # The difference of two such gains has a median of 0.6745 * 2 ** 0.5 * 0.02.
    assert flicker.change == pytest.approx(0.019, rel=0.1)


def test_clean_tanks_do_not_flicker(films, bright_films):
    assert [flicker_of(film) for film in (*films, *bright_films)] == [None] * 4


def test_light_that_fades_slowly_does_not_flicker(bright_films):
    assert flicker_of(lit(bright_films[0], np.linspace(1, 0.5, 1200))) is None


def test_pieces_of_a_recording_are_enough_and_a_gap_between_them_is_no_jump(bright_films):
    film = bright_films[0].copy()
    film[600:] += 50  # from one piece to the next
    means, speed = film.mean(axis=(1, 2)), frame_speed(film)
    assert find_flicker([means[:600], means[600:]], speed) is None


@pytest.mark.parametrize("means", [[], [np.ones(10)], [np.ones(200)]])
def test_without_frames_or_motion_nothing_flickers(means):
    assert find_flicker(means, np.zeros(199)) is None


def test_change_is_a_share_of_brightness_and_added_one_of_the_median_speed():
    # 100, 102, 100, 102 …: every change is 2 of 101 grey levels, and all of the speed.
    frames_thw = np.tile(np.array([100, 102], np.uint8), 200)[:, None, None]
    flicker = flicker_of(frames_thw)
    assert (flicker.change, flicker.added) == (pytest.approx(2 / 101), pytest.approx(1))
    assert flicker.period == pytest.approx(2, rel=0.01)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["openfield_mouse_640px_30fps", "two_flies_1024px_25fps"])
def test_real_recordings_do_not_flicker(shared, name):
    from fishray.ingest.video import Video
    from fishray.signals.speed import SpeedMeter

    meter, means = SpeedMeter(), []
    for frame_hw in Video(shared / "data/video" / f"{name}.mp4").frames():
        meter.see(frame_hw)
        means.append(frame_hw.mean())
    assert find_flicker([np.array(means)], meter.speed) is None
