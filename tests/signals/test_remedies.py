"""What a warning recommends makes the labels those of the undamaged recording again."""

import av
import numpy as np
import pytest

from fishray.config.ingest import IngestSettings
from fishray.config.sweep import LabelSettings
from fishray.ingest.writing import ingest
from fishray.signals.quality import inspect_store
from fishray.signals.targets import UNDEFINED, burst_labels
from fishray.store import open_store

pytestmark = pytest.mark.slow

SIZE = (96, 128)


@pytest.fixture(scope="module")
def scene(films):
    """A minute of a tank on a floor of gravel, on which light and coding show."""
    floor_hw = np.random.default_rng(0).integers(60, 121, SIZE, np.uint8)
    return np.maximum(films[0][:1800], floor_hw)


def digitised(grey_thw):
    return np.clip(np.rint(grey_thw), 0, 255).astype(np.uint8)


@pytest.fixture
def recorded(tmp_path):
    """Save frames without loss, ingest them and give the recording."""

    def record(frames_thw, name, **settings):
        path = tmp_path / f"{name}.mkv"
        if not path.exists():
            with av.open(path, "w") as container:
                stream = container.add_stream("ffv1", rate=30)
                stream.height, stream.width, stream.pix_fmt = *SIZE, "gray"
                for frame_hw in frames_thw:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_hw, format="gray")))
                container.mux(stream.encode(None))
        kept = f"{name}-{len(settings)}"
        return ingest(path, tmp_path / "tank.zarr", IngestSettings(size=SIZE, **settings), kept)

    return record


def kinds(tmp_path, recording):
    inspection = inspect_store(open_store(tmp_path / "tank.zarr"), LabelSettings(), [recording.name])
    return {finding.kind: finding for finding in inspection.recordings[0].findings}


def agreement(recording, other):
    one, two = (burst_labels(each.speed, 45) for each in (recording, other))
    return (one == two)[one != UNDEFINED].mean()


@pytest.mark.parametrize("period", [12, 30, 50])
def test_repaired_spikes(scene, recorded, tmp_path, period):
    """A codec's noise: all frames from one key frame to the next have the same, and it changes there."""
    noises = np.random.default_rng(1).normal(0, 1.5, (len(scene) // period + 1, *SIZE))
    noisy = digitised(scene + noises[np.arange(len(scene)) // period])
    truth, damaged = recorded(scene, "clean"), recorded(noisy, "noisy")
    assert kinds(tmp_path, truth) == {}
    found = kinds(tmp_path, damaged)
    assert list(found) == ["spikes"]
    assert found["spikes"].numbers["period"] == period
    repaired = recorded(noisy, "noisy", repair_spikes=True)
    assert kinds(tmp_path, repaired) == {}
    assert agreement(truth, damaged) < 0.85
    assert agreement(truth, repaired) > 0.95


@pytest.mark.parametrize("period", [3, 7.3])
def test_flattened_flicker(scene, recorded, tmp_path, period):
    """A light that oscillates, seen by a sensor with some noise."""
    seen = scene + np.random.default_rng(1).normal(0, 1, scene.shape)
    gain_t = 1 + 0.05 * np.sin(2 * np.pi * np.arange(len(scene)) / period)
    lit = digitised(seen * gain_t[:, None, None])
    truth, damaged = recorded(digitised(seen), "clean"), recorded(lit, "lit")
    found = kinds(tmp_path, damaged)
    assert list(found) == ["flicker"]
    assert found["flicker"].numbers["period"] == pytest.approx(period, rel=0.002)
    repaired = recorded(lit, "lit", normalise_flicker=True)
    assert kinds(tmp_path, repaired) == {}
    assert agreement(truth, damaged) < 0.85
    assert agreement(truth, repaired) > 0.95


@pytest.mark.shared
def test_what_is_recommended_for_the_flies_helps(shared, tmp_path):
    film = shared / "data/video/two_flies_1024px_25fps.mp4"
    before = ingest(film, tmp_path / "tank.zarr", name="before")
    assert kinds(tmp_path, before)["spikes"].remedy == "ingest it again with --repair-spikes"
    after = ingest(film, tmp_path / "tank.zarr", IngestSettings(repair_spikes=True), "after")
    assert "spikes" not in kinds(tmp_path, after)
