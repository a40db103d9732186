import av
import numpy as np
import pytest

from fishray.ingest.video import Video
from fishray.signals.artefacts import SpikeGrid, find_spikes, repair_spikes
from fishray.signals.speed import SpeedMeter
from fishray.signals.targets import UNDEFINED, burst_labels

PERIODS = (12, 15, 25, 50, 60, 250, 14.4, 29.97)
HEIGHTS = (0.5, 1, 3)
"""Added to the speed, in medians of it."""


def speed_of(path):
    meter = SpeedMeter()
    for frame_hw in Video(path).frames():
        meter.see(frame_hw)
    return meter.speed


def steady(speeds, period, phase, height):
    """Speeds of 1 with taller ones at regular places."""
    speed = np.ones(speeds)
    speed[phase::period] = height
    return speed


def spiked(speed, period, height, seed=0):
    """Add spikes of a median height, each a little different, where a codec of this period would put them."""
    rng = np.random.default_rng(seed)
    places = np.floor(rng.uniform(0, period) + period * np.arange(len(speed) / period - 1)).astype(int)
    spiked = speed.copy()
    spiked[places] += height * np.median(speed) * rng.uniform(0.7, 1.3, len(places))
    return spiked


def agreement(speed, other):
    labels = [burst_labels(each, 45) for each in (speed, other)]
    defined = labels[0] != UNDEFINED
    return (labels[0][defined] == labels[1][defined]).mean()


def test_period_phase_height_and_share_are_those_put_in():
    grid = find_spikes(steady(1000, period=25, phase=7, height=3))
    assert grid == SpikeGrid(period=25.0, phase=7.0, height=3.0, share=1.0)


def test_places_without_a_spike_lower_the_share():  # of 40 places every fourth is bare
    speed = steady(1000, period=25, phase=7, height=3)
    speed[7::100] = 1
    assert find_spikes(speed).share == 0.75


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("height", HEIGHTS)
def test_spikes_are_found_and_repaired_in_a_tank(tanks, period, height):
    found = 0
    for speed in tanks:
        damaged = spiked(speed, period, height)
        grid = find_spikes(damaged)
        if grid is None:
            assert agreement(speed, damaged) > 0.98  # too few and too low to matter
            continue
        found += 1
        assert grid.period == pytest.approx(period, abs=0.01)
        assert agreement(speed, repair_spikes(damaged, grid)) > 0.97
    assert found == 2 or (period, height) == (250, 0.5)


def test_tall_spikes_make_labels_worthless_until_they_are_repaired(tanks):
    damaged = spiked(tanks[0], 25, 3)
    assert agreement(tanks[0], damaged) < 0.75
    assert agreement(tanks[0], repair_spikes(damaged, find_spikes(damaged))) > 0.99


@pytest.mark.parametrize(("speeds", "period"), [(150, 12), (720, 60), (3000, 250)])
def test_a_dozen_spikes_are_enough(tanks, speeds, period):
    assert find_spikes(spiked(tanks[0][:speeds], period, 5)).period == period


def test_spikes_of_two_frames_are_found_and_repaired_whole():
    speed = steady(1000, period=25, phase=7, height=3)
    speed[8::25] = 2.5
    grid = find_spikes(speed)
    assert grid == SpikeGrid(period=25.0, phase=7.0, height=3.0, share=1.0, width=2)
    assert (repair_spikes(speed, grid) == 1).all()


def test_chance_gives_no_grid_to_short_pieces_of_a_clean_tank(tanks):
    assert [find_spikes(speed[start : start + 300]) for speed in tanks for start in range(0, 3300, 100)] == [None] * 66


def test_clean_tanks_have_none(tanks):
    assert [find_spikes(speed) for speed in tanks] == [None, None]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("draw", ["random", "exponential", "lognormal"])
def test_noise_has_none(draw, seed):
    assert find_spikes(getattr(np.random.default_rng(seed), draw)(size=5000)) is None


def test_bursts_of_several_frames_are_no_spikes_however_regular():
    rng = np.random.default_rng(0)
    assert find_spikes(np.tile([5.0] * 5 + [1.0] * 45, 60) + rng.uniform(0, 0.5, 3000)) is None


@pytest.mark.parametrize("every", [2, 3, 6, 12])
def test_repeated_frames_are_no_spikes(every):  # 15, 10, 5 or 2.5 frames per second played at 30: zeros between
    speed = np.zeros(6000)
    speed[::every] = np.random.default_rng(0).uniform(1, 2, 6000 // every)
    assert find_spikes(speed) is None


def test_a_dropped_frame_now_and_then_is_no_spike():  # 25 frames per second played at 30: every sixth speed is 0
    speed = np.random.default_rng(0).uniform(1, 2, 6000)
    speed[::6] = 0
    assert find_spikes(speed) is None


@pytest.mark.parametrize("speeds", [0, 1, 2, 15, 16, 40])
def test_a_series_too_short_to_judge_has_none(speeds):
    assert find_spikes(np.ones(speeds)) is None


def test_places_lie_within_the_series():
    assert SpikeGrid(10.0, 3.0, 2.0, 1.0).places(34).tolist() == [3, 13, 23, 33]
    assert SpikeGrid(10.0, 3.0, 2.0, 1.0).places(33).tolist() == [3, 13, 23]
    assert SpikeGrid(10.4, 0.0, 2.0, 1.0).places(45).tolist() == [0, 10, 21, 31, 42]
    assert SpikeGrid(10.0, 3.0, 2.0, 1.0).places(3).tolist() == []


def test_a_grid_found_in_the_first_part_goes_on_behind_it(tanks):
    damaged = spiked(tanks[0], 25, 3)
    first, whole = find_spikes(damaged[:1500]), find_spikes(damaged)
    assert first.places(len(damaged)).tolist() == whole.places(len(damaged)).tolist()


def test_a_spike_is_cut_down_to_the_speed_before_it():
    speed = np.array([9.0, 1, 2, 9, 4, 5, 1, 7])
    assert repair_spikes(speed, SpikeGrid(3.0, 0.0, 2.0, 1.0)).tolist() == [9, 1, 2, 2, 4, 5, 1, 7]
    assert speed[3] == 9


def test_no_repaired_speed_knows_a_later_one(tanks):
    grid = SpikeGrid(12.0, 5.0, 2.0, 1.0)
    for now in (5, 6, 17, 18, 30):
        changed = tanks[0].copy()
        changed[now:] = 1
        assert repair_spikes(changed, grid)[:now].tolist() == repair_spikes(tanks[0], grid)[:now].tolist()


@pytest.mark.parametrize(
    ("codec", "period", "options", "width"),
    [("libx264", 30, {"crf": "30"}, 1), ("libx264", 50, {"crf": "28"}, 2), ("mpeg4", 12, {}, 2)],
)
def test_key_frames_of_a_real_codec_are_found(tmp_path, codec, period, options, width):
    # A square on a resting floor, under the noise of a sensor, which a codec keeps from one key frame to the next.
    rng = np.random.default_rng(0)
    path = tmp_path / f"tank.{'mp4' if options else 'avi'}"
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=30, options=options | {"sc_threshold": "0"} if options else {})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 96, "yuv420p", period
        if not options:
            stream.bit_rate = 100_000
        for place in (51 + 51 * np.sin(np.arange(600) / 30)).astype(int):
            frame_hw = rng.normal(90, 8, (96, 128))
            frame_hw[20:40, place : place + 20] += 80
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_hw.astype(np.uint8), format="gray")))
        container.mux(stream.encode(None))
    grid = find_spikes(speed_of(path))
    assert (grid.period, grid.phase, grid.width) == (period, period - 1, width)
    assert grid.height > 1.5


@pytest.mark.shared
def test_the_published_series_has_none(shared):
    for split in ("train", "validation"):
        assert find_spikes(np.load(shared / "data/serpae-tetra" / f"{split}_speed.npy")[:-1]) is None


@pytest.mark.shared
def test_the_mouse_has_none(shared):
    assert find_spikes(speed_of(shared / "data/video/openfield_mouse_640px_30fps.mp4")) is None


@pytest.mark.shared
def test_the_flies_have_spikes_just_where_their_file_has_its_key_frames(shared):
    path = shared / "data/video/two_flies_1024px_25fps.mp4"
    with av.open(path) as container:
        keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    speed = speed_of(path)
    grid = find_spikes(speed)
    assert (grid.period, grid.share) == (250, 1)
    assert (grid.places(len(speed)) + 1).tolist() == keys[1:]
    assert find_spikes(speed[:1799]).period == 250  # 60 % of it, by which ingest repairs


def test_seven_steep_spikes_tell_a_long_period(tanks):
    speed = tanks[0][:1799].copy()
    assert find_spikes(speed) is None
    speed[249::250] += 5 * np.median(speed)
    grid = find_spikes(speed)
    assert (grid.period, grid.phase, grid.share) == (250, 249, 1)
