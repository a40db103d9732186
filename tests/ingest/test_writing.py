import hashlib

import numpy as np
import pytest
from PIL import Image

from fishray import __version__
from fishray.config.ingest import IngestSettings
from fishray.errors import RecordingError, SettingError, StoreError
from fishray.ingest import unfinished
from fishray.ingest.estimating import median_frame, sample_positions
from fishray.ingest.images import ImageFolder
from fishray.ingest.resizing import resize_area
from fishray.ingest.video import Video
from fishray.ingest.writing import ingest, recording_name
from fishray.signals.speed import frame_speed
from fishray.signals.targets import UNDEFINED, burst_labels
from fishray.store import open_store, writing


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "tank.zarr"


@pytest.fixture
def images(tmp_path, noise_thw):
    folder = tmp_path / "images"
    folder.mkdir()
    for position, frame_hw in enumerate(noise_thw[:5]):
        Image.fromarray(frame_hw).save(folder / f"{position}.png")
    return folder


def test_a_video_becomes_a_recording(store, make_video, noise_thw):
    video = make_video(noise_thw)
    recording = ingest(video, store)
    assert (recording.name, recording.fps, recording.frame_count) == ("fish", 25.0, 60)
    assert np.array_equal(recording.read_frames(0, 60), noise_thw)
    assert recording.speed.tobytes() == frame_speed(noise_thw).tobytes()
    assert recording.attributes == {
        "complete": True,
        "fps": 25.0,
        "source": "fish.mkv",
        "source_sha256": hashlib.sha256(video.read_bytes()).hexdigest(),
        "settings": IngestSettings().model_dump(mode="json"),
        "fishray": __version__,
    }


def test_the_stored_size_does_not_change_the_speed(store, make_video, noise_thw):
    recording = ingest(make_video(noise_thw), store, IngestSettings(size=(20, 30)))
    assert recording.frame_size == (20, 30)
    assert np.array_equal(recording.read_frames(7, 8)[0], resize_area(noise_thw[7], (20, 30)))
    assert recording.speed.tobytes() == frame_speed(noise_thw).tobytes()


def test_progress_ends_with_the_number_of_frames(store, images):
    seen = []
    ingest(images, store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(5, 5)]


def test_images_without_a_stated_rate_get_30_frames_per_second_and_say_so(store, images):
    notices = []
    assert ingest(images, store, notice=notices.append).fps == 30.0
    assert len(notices) == 1
    assert "30 frames per second assumed" in notices[0]


def test_a_stated_rate_is_taken_without_a_word(store, images, make_video, noise_thw):
    notices = []
    settings = IngestSettings(fps=12.5)
    assert ingest(images, store, settings, notice=notices.append).fps == 12.5
    assert ingest(make_video(noise_thw), store, settings, notice=notices.append).fps == 12.5
    assert notices == []


def test_a_series_becomes_a_recording_of_speed_alone(store, tmp_path):
    np.save(tmp_path / "speed.npy", np.array([0.5, 0.25, 0]))
    recording = ingest(tmp_path / "speed.npy", store, IngestSettings(drop_placeholder=True))
    assert (recording.frame_count, recording.frame_size) == (3, None)
    assert recording.speed.tolist() == [0.5, 0.25]


def test_several_recordings_share_a_store(store, images, make_video, noise_thw):
    ingest(make_video(noise_thw), store)
    ingest(images, store)
    ingest(images, store, name="again")
    assert open_store(store).names == ("again", "fish", "images")


@pytest.mark.parametrize(
    ("source", "name"),
    [("two fish (1).mp4", "two_fish_1"), ("tank-1_a.avi", "tank-1_a"), ("a.b.npy", "a_b"), ("魚.mp4", "recording")],
)
def test_a_name_is_made_of_the_source_s(tmp_path, source, name):
    assert recording_name(tmp_path / source) == name


def test_the_same_again_says_so_and_changes_nothing(store, images):
    ingest(images, store, IngestSettings(fps=25))
    before, notices = contents(store), []
    recording = ingest(images, store, IngestSettings(fps=25), notice=notices.append)
    assert recording.frame_count == 5
    assert contents(store) == before
    assert len(notices) == 1
    assert "already there" in notices[0]


def test_another_source_or_other_settings_under_a_taken_name_are_refused(store, images, make_video, noise_thw):
    ingest(images, store)
    before = contents(store)
    for source, settings in ((make_video(noise_thw), IngestSettings()), (images, IngestSettings(size=(8, 8)))):
        with pytest.raises(StoreError, match=r"images is already there in .*; choose another with --name"):
            ingest(source, store, settings, name="images")
    assert contents(store) == before


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("fault", ["cut off", "one frame", "sizes", "NaN", "empty", "too large", "placeholder", "kill"])
def test_a_failed_ingest_leaves_everything_as_it_was(store, images, tmp_path, make_video, noise_thw, there, fault):
    if there:
        ingest(images, store, name="before")
    before = contents(store)
    settings, error, source, progress = IngestSettings(), RecordingError, images, lambda *_: None
    if fault == "cut off":
        source = make_video(noise_thw)
        source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    elif fault == "one frame":
        source = make_video(noise_thw[:1])
    elif fault == "sizes":
        Image.fromarray(noise_thw[0, :9]).save(images / "9.png")
    elif fault == "NaN":
        source = tmp_path / "speed.npy"
        np.save(source, np.array([0.5, np.nan]))
    elif fault == "empty":
        source = tmp_path / "empty.mp4"
        source.touch()
    elif fault == "too large":
        settings, error = IngestSettings(size=(480, 640)), SettingError
    elif fault == "placeholder":
        settings, error = IngestSettings(drop_placeholder=True), SettingError
    else:

        def progress(*_):
            raise KeyboardInterrupt

        error = KeyboardInterrupt
    with pytest.raises(error):
        ingest(source, store, settings, progress=progress)
    assert contents(store) == before
    assert store.exists() == there


def still(level, frames=10):
    return np.full((frames, 4, 4), level, np.uint8)


def test_the_speed_is_measured_after_region_and_background(store, make_video):
    """Of 4 x 4 pixels the right half is kept; its 8 pixels go from 100 to 120 and back, in the middle of 9 frames."""
    frames_thw = still(100, 9)
    frames_thw[4, :, 2:] = 120
    frames_thw[5, :, :2] = 255
    settings = IngestSettings(region=(2, 0, 2, 4), background="difference")
    recording = ingest(make_video(frames_thw), store, settings)
    assert recording.speed.tolist() == [0, 0, 0, 20 / 255, 20 / 255, 0, 0, 0]
    assert recording.background.tolist() == [[100, 100]] * 4
    assert recording.read_frames(4, 5).tolist() == [[[20, 20]] * 4]


def test_contrast_and_size_do_not_change_the_speed(store, make_video, noise_thw):
    settings = IngestSettings(size=(2, 2), interpolation="nearest", contrast=(10, 90))
    recording = ingest(make_video(noise_thw), store, settings)
    assert recording.speed.tobytes() == frame_speed(noise_thw).tobytes()
    assert recording.read_frames(0, 60).max() == 255  # of 0 to 255, 10 to 90 % were spread


def test_a_range_of_frames_is_a_recording_of_its_own(store, make_video, noise_thw):
    recording = ingest(make_video(noise_thw), store, IngestSettings(start=10, stop="0.8s"))  # at 25 frames per second
    assert np.array_equal(recording.read_frames(0, 10), noise_thw[10:20])
    assert recording.speed.tobytes() == frame_speed(noise_thw[10:20]).tobytes()


def test_a_constant_rate_can_be_asked_for(store, make_video, noise_thw):
    recording = ingest(make_video(noise_thw), store, IngestSettings(resample=5))
    assert recording.fps == 5
    assert np.array_equal(recording.read_frames(0, 12), noise_thw[::5])


def test_more_frames_than_the_source_has_are_told_of(store, make_video, noise_thw):
    notices = []
    recording = ingest(make_video(noise_thw), store, IngestSettings(resample=50), notice=notices.append)
    assert recording.speed[::2].tolist() == [0] * 60
    assert notices == [
        "fish: 50 frames per second are more than the source's 25; frames are repeated, and between them the speed is 0"
    ]


def test_true_times_are_kept_and_told_of(store, make_video, noise_thw, monkeypatch):
    times_s = np.arange(60) / 25
    times_s[30:] += 0.5
    monkeypatch.setattr(Video, "times_s", times_s)
    notices = []
    recording = ingest(make_video(noise_thw), store, IngestSettings(start=10), notice=notices.append)
    assert recording.times_s.tolist() == (times_s[10:] - times_s[10]).tolist()
    assert recording.fps == pytest.approx(49 / (49 / 25 + 0.5))
    assert len(notices) == 1
    assert "not evenly spaced, 40 to 540 ms apart" in notices[0]
    assert notices[0].endswith("--resample 20")
    assert ingest(make_video(noise_thw), store, IngestSettings(resample=20), name="even").times_s is None


EVERYTHING = IngestSettings(
    normalise_flicker=True, invert="auto", background="brighter", contrast=(1, 99), repair_spikes=True
)


def test_nothing_is_estimated_from_behind_the_stated_share(store, make_video, noise_thw):
    """Sixty frames, whose first 36 count: others behind them change no estimate and no frame before."""
    other_thw = noise_thw.copy()
    other_thw[36:] = 255 - other_thw[36:] // 4
    recording = ingest(make_video(noise_thw), store, EVERYTHING)
    other = ingest(make_video(other_thw, "other.mkv"), store, EVERYTHING)
    assert recording.attributes["estimates"] == other.attributes["estimates"]
    assert recording.attributes["estimates"]["frames"] == 36
    assert np.array_equal(recording.background, other.background)
    assert np.array_equal(recording.read_frames(0, 36), other.read_frames(0, 36))
    assert recording.speed[:35].tobytes() == other.speed[:35].tobytes()
    assert recording.speed[36:].tobytes() != other.speed[36:].tobytes()


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_the_share_can_be_stated(store, make_video, noise_thw, share):
    settings = IngestSettings(background="difference", estimate_from=share)
    recording = ingest(make_video(noise_thw), store, settings)
    assert recording.attributes["estimates"]["frames"] == 60 * share
    sampled = noise_thw[sample_positions(round(60 * share), 1)]
    assert np.array_equal(recording.background, median_frame(list(sampled)))


@pytest.mark.parametrize(("ground", "animal", "said"), [(200, 20, "darker"), (20, 200, "brighter")])
def test_auto_tells_what_it_found(store, make_video, ground, animal, said):
    frames_thw = still(ground)
    for position in range(10):
        frames_thw[position, position % 4, position % 3] = animal
    notices = []
    recording = ingest(make_video(frames_thw), store, IngestSettings(invert="auto"), notice=notices.append)
    assert said in notices[0]
    assert recording.attributes["estimates"]["inverted"] == (said == "darker")
    assert np.median(recording.read_frames(0, 10)) == min(ground, 255 - ground)


def spiky():
    """Speeds of 0.01 to 0.02, and 0.2 at each twelfth, as a codec's key frames leave them."""
    speed = np.random.default_rng(0).uniform(0.01, 0.02, 1000)
    speed[5::12] = 0.2
    return speed


def test_key_frame_spikes_are_repaired_and_told_of(store, tmp_path):
    np.save(tmp_path / "speed.npy", spiky())
    notices = []
    recording = ingest(tmp_path / "speed.npy", store, IngestSettings(fps=30, repair_spikes=True), notice=notices.append)
    assert recording.speed.max() < 0.02
    assert recording.speed[5::12].tolist() == spiky()[4::12].tolist()  # each is as the speed before it
    assert recording.attributes["estimates"]["spikes"]["period"] == 12
    assert notices == ["key-frame spikes every 12 frames: 83 of 1,000 speeds cut down"]


def test_flicker_is_taken_out_of_the_labels(store, make_video, tanks):
    """A dark square on a bright ground, whose moves are known, under a lamp that swings by 5 %."""
    ground_hw = np.random.default_rng(0).integers(120, 180, (48, 64))
    steady, flickering = [], []
    for position, place in enumerate(np.concatenate([[0], np.cumsum(tanks["tank-1"].pixels_per_frame)])):
        frame_hw = ground_hw.copy()
        frame_hw[10:30, (place + np.arange(20)) % 64] = 20
        steady.append(frame_hw)
        flickering.append(frame_hw * (1 + 0.05 * np.sin(2.1 * position)))
    lit = make_video(np.array(flickering).astype(np.uint8))
    speed = frame_speed(np.array(steady, np.uint8))
    rule = {"horizon": 10, "low_fraction": 0.1, "range_threshold": float(np.ptp(speed) / 2)}
    label = burst_labels(speed, **rule)
    raw, levelled = (
        burst_labels(ingest(lit, store, settings, name).speed, **rule)
        for name, settings in (("raw", IngestSettings()), ("levelled", IngestSettings(normalise_flicker=True)))
    )
    defined = label != UNDEFINED
    assert (levelled == label)[defined].mean() > 0.95
    assert (raw == label)[defined].mean() < 0.9


def test_where_there_are_no_spikes_the_speed_is_left(store, tmp_path):
    speed = spiky()
    speed[5::12] = 0.015
    np.save(tmp_path / "speed.npy", speed)
    notices = []
    recording = ingest(tmp_path / "speed.npy", store, IngestSettings(fps=30, repair_spikes=True), notice=notices.append)
    assert recording.speed.tolist() == speed.tolist()
    assert recording.attributes["estimates"] == {"frames": 600, "spikes": None}
    assert notices == ["no key-frame spikes found in the first 600 frames; the speed is left as it is"]


def test_frames_settings_are_refused_for_a_series(store, tmp_path):
    np.save(tmp_path / "speed.npy", spiky())
    with pytest.raises(SettingError, match=r"region, invert do not go with .*speed.npy.*leave them out"):
        ingest(tmp_path / "speed.npy", store, IngestSettings(region=(0, 0, 1, 1), invert="yes"))


def test_frames_that_nobody_counted_are_counted_for_the_estimates(store, images, monkeypatch):
    settings = IngestSettings(background="difference")
    counted = ingest(images, store, settings, name="counted")

    def uncounted(path):
        folder = ImageFolder(path)
        folder.frame_count = None
        return folder

    monkeypatch.setattr("fishray.ingest.writing.open_source", uncounted)
    recording = ingest(images, store, settings)
    assert recording.attributes["estimates"] == counted.attributes["estimates"]
    assert np.array_equal(recording.background, counted.background)


def test_a_source_that_misstates_its_length_is_refused_where_that_matters(store, images, monkeypatch):
    def misstated(path):
        folder = ImageFolder(path)
        folder.frame_count = 8
        return folder

    monkeypatch.setattr("fishray.ingest.writing.open_source", misstated)
    assert ingest(images, store, name="plain").frame_count == 5
    with pytest.raises(RecordingError, match=r"its first 4 were looked at and 3 should have been; .* --stop"):
        ingest(images, store, IngestSettings(background="difference"))
    assert open_store(store).names == ("plain",)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 120 frames of 48 x 64."""
    monkeypatch.setattr(writing, "SHARD_BYTES", 120 * 48 * 64)


@pytest.fixture
def long_video(make_video):
    return make_video(np.random.default_rng(1).integers(0, 256, (500, 48, 64), dtype=np.uint8), "long.mkv")


def stop_at(frames):
    """A progress by which Ctrl-C strikes."""

    def progress(done, _):
        if done >= frames:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("settings", [IngestSettings(), EVERYTHING, IngestSettings(start=7, resample=40.0)])
def test_what_ctrl_c_stopped_is_completed_bit_for_bit(store, tmp_path, long_video, small_shards, settings):
    ingest(long_video, tmp_path / "whole.zarr", settings)
    said = []
    for frames in (120, 240, 360):
        with pytest.raises(KeyboardInterrupt):
            ingest(long_video, store, settings, progress=stop_at(frames), notice=said.append)
        assert open_store(store).names == ()
    ingest(long_video, store, settings, notice=said.append)
    assert contents(store) == contents(tmp_path / "whole.zarr")
    assert [words for words in said if "going on" in words] == [
        f"long: going on after its first {frames} frames, which are there" for frames in (120, 240, 360)
    ]


def test_what_was_begun_with_other_settings_is_begun_anew(store, tmp_path, long_video, small_shards):
    ingest(long_video, tmp_path / "whole.zarr", IngestSettings(fps=10))
    with pytest.raises(KeyboardInterrupt):
        ingest(long_video, store, progress=stop_at(240))
    said = []
    ingest(long_video, store, IngestSettings(fps=10), notice=said.append)
    assert said == ["long had been begun from another source, with other settings or by another fishray; begun anew"]
    assert contents(store) == contents(tmp_path / "whole.zarr")


def test_before_anything_is_on_disk_ctrl_c_leaves_nothing(store, images):
    with pytest.raises(KeyboardInterrupt):
        ingest(images, store, progress=stop_at(1))
    assert not store.exists()


def test_what_a_process_left_that_died_at_its_very_end_is_removed(store, images, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(unfinished, "clear", lambda *_, **__: None)
        ingest(images, store)
    assert (store / ".ingest-images").exists()
    ingest(images, store)
    assert sorted(each.name for each in store.iterdir()) == ["images", "zarr.json"]


def test_a_path_that_is_no_store_is_refused_and_kept(store, images):
    store.write_bytes(b"my only video")
    with pytest.raises(StoreError, match="is not a fishray store"):
        ingest(images, store)
    assert store.read_bytes() == b"my only video"


@pytest.mark.shared
def test_published_frames_give_their_published_speeds(store, tetra):
    recording = ingest(tetra / "frames", store)
    assert recording.speed == pytest.approx(np.load(tetra / "train_speed.npy")[:10], abs=1e-9)
    assert recording.frame_size == (120, 160)
