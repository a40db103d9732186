"""A trial that is trained in folds: a network for each, judged by what that one has not seen."""

from statistics import fmean

import numpy as np
import pytest
import torch

from fishray.config.data import DataSettings, Folds
from fishray.config.sweep import LabelSettings
from fishray.errors import DivergedError
from fishray.evaluation.metrics import roc_auc
from fishray.predictors.folded import load_trained
from fishray.sequences import Sequences, valid_labels
from fishray.sequences.recordings import find_recordings
from fishray.sequences.splits import load_sequences
from fishray.training import Trainer
from fishray.training import trainer as trainer_module
from fishray.weights import read_weights

CPU = torch.device("cpu")
SETTINGS = {
    "lstm": {"judged_frames": 48, "batch_size": 4, "steps_per_epoch": 6, "dropout": 0.3, "augment": "noise"},
    "convlstm": {
        "filters": (2,), "downsample": 4, "judged_frames": 24, "batch_size": 2, "steps_per_epoch": 4, "dropout": 0.3,
        "augment": "affine", "batch_norm": True,
    },
}  # fmt: skip
"""Settings that draw at random or keep running statistics."""
TIMES = {"labels_per_s", "epoch_s"}


@pytest.fixture(scope="module")
def folds(tank_store):
    """The three recordings, each held out in turn."""
    data = DataSettings(store=tank_store, look_back=24, split=Folds(folds=3))
    rule = LabelSettings(horizon=10, range_threshold=0.02)
    return load_sequences(find_recordings(data), data, rule, lambda each: each.read_frames(0, each.frame_count))


@pytest.fixture(params=["lstm", "convlstm"])
def model(request):
    return request.param


@pytest.fixture
def make_trainer(make_trial, folds):
    def make(model, data=folds, metric="validation_auc", **settings):
        return Trainer(make_trial(model, **SETTINGS[model] | settings), data, CPU, metric)

    return make


def outcome(score):
    return {key: value for key, value in score.as_dict().items() if key not in TIMES}


def weights(learner):
    return {name: value.clone() for name, value in learner.tensors().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_network_is_what_a_trial_on_its_fold_alone_would_be(make_trainer, model, folds):
    together = make_trainer(model)
    alone = [make_trainer(model, data=Sequences(fold.train, fold.validation)) for fold in folds.folds]
    for _ in range(2):
        score, apart = together.run_epoch(), [trainer.run_epoch() for trainer in alone]
        assert score.loss == fmean(each.loss for each in apart)
        for name in ("auc", "average_precision", "youden_j"):
            found = [getattr(each, f"validation_{name}") for each in apart]
            assert [fold[name] for fold in score.folds] == found
            assert getattr(score, f"validation_{name}") == fmean(found)
    for learner, trainer in zip(together.learners, alone, strict=True):
        assert equal(weights(learner), weights(trainer.learners[0]))
    assert not equal(weights(together.learners[0]), weights(together.learners[1]))


def test_without_folds_there_are_no_scores_by_fold(make_trainer, folds):
    fold = folds.folds[0]
    assert make_trainer("lstm", data=Sequences(fold.train, fold.validation)).run_epoch().folds == []


def test_a_recording_that_is_held_out_moves_nothing_of_its_network(make_trainer, folds):
    """Neither weights nor scales: with another recording held out in its place they are the same."""
    first, second, third = folds.folds
    swapped = Sequences.of_folds((Sequences(first.train, second.validation), second, third), ())
    one, other = make_trainer("convlstm"), make_trainer("convlstm", data=swapped)
    scores = one.run_epoch().folds, other.run_epoch().folds
    assert scores[0][0] != scores[1][0]
    assert equal(weights(one.learners[0]), weights(other.learners[0]))
    scales = [learner.network.speed_scale.std.item() for learner in one.learners]
    expected = [np.concatenate([s.speed for s in fold.train]).std() for fold in folds.folds]
    assert scales == pytest.approx(expected)
    assert len(set(scales)) == 3


def test_the_test_split_is_not_touched(make_trainer, folds):
    with_test = Sequences.of_folds(folds.folds, folds.validation[:1])
    assert outcome(make_trainer("lstm", data=with_test).run_epoch()) == outcome(make_trainer("lstm").run_epoch())


def test_recordings_are_prepared_once_for_all_folds(make_trainer, monkeypatch):
    made = []
    prepare = trainer_module.sequence_inputs

    def count(settings, sequence, device):
        made.append(sequence.recording)
        return prepare(settings, sequence, device)

    monkeypatch.setattr(trainer_module, "sequence_inputs", count)
    make_trainer("convlstm")
    assert sorted(made) == ["tank-1", "tank-2", "tank-3"]


def test_the_kept_validation_is_what_each_network_gives_for_what_it_has_not_seen(make_trainer, model, folds, tmp_path):
    trainer = make_trainer(model)
    trainer.run_epoch()
    trainer.save_best(tmp_path / "best")
    kept = read_weights(tmp_path / "best")[0]["array.validation_probability"]
    networks = load_trained(tmp_path / "best").networks
    expected = [
        network.predict(sequence)[sequence.valid]
        for network, fold in zip(networks, folds.folds, strict=True)
        for sequence in fold.validation
    ]
    np.testing.assert_array_equal(kept, np.concatenate(expected).astype(np.float32))
    assert len(kept) == len(valid_labels(folds.validation))
    first = int(folds.folds[0].validation[0].valid.sum())
    label = valid_labels(folds.folds[0].validation)
    assert trainer.last_score.folds[0]["auc"] == pytest.approx(
        roc_auc(label, kept[:first]), abs=1e-3
    )  # ties of float32


def test_the_best_epoch_is_that_of_the_best_mean(make_trainer, monkeypatch, tmp_path):
    """Means of 0.6, 0.7 and 0.65; the third epoch has the best single fold."""
    aucs = iter([0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.4, 0.6, 0.95])
    rest = {"average_precision": 0.5, "youden_j": 0.5}
    monkeypatch.setattr(trainer_module, "scores", lambda *_: rest | {"auc": next(aucs)})
    trainer = make_trainer("lstm")
    found = [trainer.run_epoch() for _ in range(2)]
    at_best = [learner.validation_probability() for learner in trainer.learners]
    found.append(trainer.run_epoch())
    assert [score.best_epoch for score in found] == [1, 2, 2]
    assert [score.validation_auc for score in found] == pytest.approx([0.6, 0.7, 0.65])
    trainer.save_best(tmp_path / "best")
    kept = read_weights(tmp_path / "best")[0]["array.validation_probability"]
    np.testing.assert_array_equal(kept, np.concatenate(at_best).astype(np.float32))


def test_a_resumed_trial_is_the_undisturbed_one_bit_for_bit(make_trainer, model, tmp_path):
    undisturbed = make_trainer(model)
    expected = [outcome(undisturbed.run_epoch()) for _ in range(3)]
    first = make_trainer(model)
    first.run_epoch()
    first.save(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]  # one file for all folds
    resumed = make_trainer(model)
    assert resumed.resume(tmp_path / "checkpoint", known=1) == ""
    assert outcome(resumed.last_score) == expected[0]
    assert [outcome(resumed.run_epoch()) for _ in range(2)] == expected[1:]
    for one, other in zip(resumed.learners, undisturbed.learners, strict=True):
        assert equal(weights(one), weights(other))
    for name, trainer in (("one", resumed), ("other", undisturbed)):
        trainer.save_best(tmp_path / name)
    (one, said), (other, said_too) = read_weights(tmp_path / "one"), read_weights(tmp_path / "other")
    assert said == said_too
    assert one.keys() == other.keys()
    assert [name for name, array in one.items() if array.tobytes() != other[name].tobytes()] == []


def test_a_trial_has_collapsed_if_one_of_its_networks_has(make_trainer):
    trainer = make_trainer("lstm", learning_rate=1e-12)
    assert not make_trainer("lstm").run_epoch().collapsed
    torch.nn.init.zeros_(trainer.learners[1].network.head.weight)
    torch.nn.init.zeros_(trainer.learners[1].average.module.head.weight)
    assert trainer.run_epoch().collapsed


def test_a_trial_has_diverged_if_one_of_its_networks_has(make_trainer):
    trainer = make_trainer("lstm")
    torch.nn.init.constant_(trainer.learners[2].network.head.bias, torch.inf)
    with pytest.raises(DivergedError, match="diverged in epoch 1"):
        trainer.run_epoch()
