import json

import pytest
import torch

from fishray.config.sweep import Sweep
from fishray.sequences.recordings import find_recordings
from fishray.sequences.splits import load_sequences
from fishray.tuning.node import Node
from fishray.tuning.preparation import Prepared
from fishray.tuning.probing import models_of, probe

LOOK_BACK = 24
FAMILIES = {
    "lstm": {
        "model": "lstm",
        "trials": 4,
        "space": {"hidden": {"choice": [2, 16]}},
        "fixed": {"batch_size": 2, "judged_frames": 24},
    },
    "convlstm": {
        "model": "convlstm",
        "trials": 2,
        "fixed": {"batch_size": 2, "judged_frames": 24, "filters": [2], "downsample": 4},
    },
}


@pytest.fixture
def prepared(tank_store):
    def make(split=None, **families):
        data = {"store": str(tank_store), "look_back": LOOK_BACK} | ({"split": split} if split else {})
        labels = {"horizon": 10, "range_threshold": 0.02}
        written = {"name": "tiny", "data": data, "labels": labels, "families": families or FAMILIES}
        sweep = Sweep.model_validate_json(json.dumps(written))
        recordings = find_recordings(sweep.data)
        return Prepared(sweep, Node(1, ()), recordings, "", load_sequences(recordings, sweep.data, sweep.labels))

    return make


def probed(prepared, gpus=None):
    told, threads = [], torch.get_num_threads()
    found = probe(prepared, models_of(prepared), 0.01, gpus, lambda config: told.append(config.family))
    assert torch.get_num_threads() == threads
    return found, told


def test_trials_stand_from_the_smallest_to_the_largest(prepared):
    models = models_of(prepared())["lstm"]
    assert {model.config.settings.hidden for model in models} == {2, 16}
    assert [model.work for model in models] == sorted(model.work for model in models)
    # An LSTM of n on one speed has 4·n·(1 + n) weights and two biases of 4·n, its head n + 1.
    assert [models[0].weights, models[-1].weights] == [24 + 16 + 3, 1088 + 128 + 17]


def test_the_smallest_and_the_largest_model_of_each_family_are_measured(prepared):
    found, told = probed(prepared())
    assert told == [each.family for each in found] == ["lstm", "lstm", "convlstm"]
    assert [each.model.weights for each in found[:2]] == [43, 1233]
    for each in found:
        assert each.labels_per_s > 0
        assert each.epoch_s > 0
        assert each.loading_s > 0
        assert 0 < each.waiting < 1
        assert each.memory_bytes > 50 * 2**20  # torch alone is more
        assert each.gpu_busy is None


def test_a_trial_on_folds_trains_a_network_for_each(prepared):
    few = {"lstm": {"model": "lstm", "trials": 1, "fixed": FAMILIES["lstm"]["fixed"] | {"steps_per_epoch": 10_000}}}
    (alone,), _ = probed(prepared(**few))
    (folded,), _ = probed(prepared({"folds": 3}, **few))
    one_s, three_s = (10_000 * 2 * 24 / each.labels_per_s for each in (alone, folded))
    assert alone.epoch_s == pytest.approx(one_s, rel=0.2)
    assert folded.epoch_s == pytest.approx(3 * three_s, rel=0.2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_on_a_gpu_memory_and_busy_time_are_the_gpus(prepared):
    found, _ = probed(prepared(), gpus=True)
    for each in found:
        assert 0 < each.gpu_busy <= 1
        assert 500 * 2**20 < each.memory_bytes < 2**31
