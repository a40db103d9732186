import numpy as np
import pytest

from fishray.config.data import DataSettings
from fishray.config.sweep import LabelSettings
from fishray.sequences.direct import StoredFrames
from fishray.sequences.recordings import find_recordings
from fishray.sequences.splits import load_sequences
from fishray.store import open_store
from fishray.training import Trainer, choose_device
from fishray.weights import read_weights


@pytest.fixture
def recording(tank_store):
    return open_store(tank_store).recording("tank-1")


def test_a_slice_is_read_when_it_is_made_an_array(recording):
    frames = StoredFrames(recording, 100, 300)
    assert frames.shape == (200, 24, 32)
    assert len(frames[50:]) == 150
    assert np.array_equal(np.asarray(frames[50:][10:20]), recording.read_frames(160, 170))
    assert np.array_equal(np.asarray(frames[190:250]), recording.read_frames(290, 300))  # no further than its end
    assert len(frames[20:10]) == 0


def test_frames_are_read_in_no_steps(recording):
    with pytest.raises(ValueError, match="not in steps of 2"):
        StoredFrames(recording, 0, 10)[::2]


@pytest.mark.parametrize("settings", [{"downsample": 1}, {"downsample": 4, "channels": "both"}])
def test_a_network_learns_the_same_from_frames_that_stay_in_the_store(tank_store, tank, make_trial, settings, tmp_path):
    data = DataSettings(store=tank_store, look_back=24)
    rule = LabelSettings(horizon=10, range_threshold=0.02)
    found = find_recordings(data)
    read = load_sequences(found, data, rule, lambda recording: recording.read_frames(0, recording.frame_count))
    unread = load_sequences(found, data, rule, lambda recording: StoredFrames(recording, 0, recording.frame_count))
    trial = make_trial("convlstm", steps_per_epoch=2, batch_size=2, judged_frames=24, **settings)
    weights = []
    for number, sequences in enumerate((read, unread)):
        trainer = Trainer(trial, sequences, choose_device(0))
        trainer.run_epoch()
        trainer.save(tmp_path / str(number))
        weights.append(read_weights(tmp_path / str(number))[0])
    assert weights[0].keys() == weights[1].keys()
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
