import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from fishray import __version__
from fishray.config.ingest import IngestSettings
from fishray.errors import RecordingError, SettingError, StoreError
from fishray.ingest.preprocess import resize_area
from fishray.ingest.writing import ingest, recording_name
from fishray.signals.speed import frame_speed
from fishray.store import open_store


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
        "settings": {"size": None, "fps": None, "drop_placeholder": False},
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


def test_a_killed_ingest_is_invisible_and_the_next_replaces_it(store, images, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:  # a killed process cleans nothing up
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            ingest(images, store, progress=kill)
    assert (store / "images").is_dir()
    assert open_store(store).names == ()
    assert ingest(images, store).frame_count == 5


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
