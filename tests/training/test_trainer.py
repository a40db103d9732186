import dataclasses
import math

import numpy as np
import pytest
import torch

from fishray.errors import ResourceError
from fishray.files import previous
from fishray.predictors.network import NetworkPredictor
from fishray.sequences import Sequences
from fishray.training import Trainer, choose_device, class_weights, fit
from fishray.training import trainer as trainer_module
from fishray.weights import read_weights

CPU = torch.device("cpu")
SMALL = {
    "lstm": {"judged_frames": 48, "batch_size": 4, "steps_per_epoch": 6, "warmup_steps": 4},
    "convlstm": {"filters": (2,), "downsample": 4, "judged_frames": 24, "batch_size": 2, "steps_per_epoch": 4},
}
RANDOM = {
    "lstm": {"dropout": 0.3, "augment": "noise"},
    "convlstm": {"dropout": 0.3, "augment": "affine", "batch_norm": True},
}
"""Settings that draw at random or keep running statistics."""


@pytest.fixture(params=["lstm", "convlstm"])
def model(request):
    return request.param


@pytest.fixture
def make_trainer(make_trial, tank):
    def make(model, data=tank, metric="validation_auc", device=CPU, **settings):
        return Trainer(make_trial(model, **SMALL[model] | settings), data, device, metric)

    return make


def outcome(score):
    """A score without the times."""
    return {key: value for key, value in score.as_dict().items() if key not in ("labels_per_s", "epoch_s")}


def learner(trainer):
    """The only one of a trial without folds."""
    (only,) = trainer.learners
    return only


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_same_seed_gives_the_same_scores(make_trainer, model):
    one, other, third = (make_trainer(model, seed=seed, **RANDOM[model]) for seed in (1, 1, 2))
    for _ in range(2):
        scores = [outcome(trainer.run_epoch()) for trainer in (one, other, third)]
        assert scores[0] == scores[1]
        assert scores[0]["loss"] != scores[2]["loss"]
    assert equal(weights(learner(one).network), weights(learner(other).network))


def test_an_epoch_does_not_depend_on_what_was_drawn_in_between(make_trainer, model):
    one, other = (make_trainer(model, **RANDOM[model]) for _ in range(2))
    one.run_epoch()
    other.run_epoch()
    torch.rand(5)
    expected = outcome(one.run_epoch())
    torch.rand(7)
    assert outcome(other.run_epoch()) == expected


def test_a_resumed_trial_is_the_undisturbed_one_bit_for_bit(make_trainer, model, tmp_path):
    undisturbed = make_trainer(model, **RANDOM[model])
    expected = [outcome(undisturbed.run_epoch()) for _ in range(3)]
    first = make_trainer(model, **RANDOM[model])
    first.run_epoch()
    first.save(tmp_path / "checkpoint")
    resumed = make_trainer(model, **RANDOM[model])
    assert resumed.resume(tmp_path / "checkpoint", known=1) == ""
    assert outcome(resumed.last_score) == expected[0]
    assert [outcome(resumed.run_epoch()) for _ in range(2)] == expected[1:]
    assert equal(weights(learner(resumed).network), weights(learner(undisturbed).network))
    assert equal(weights(learner(resumed).average), weights(learner(undisturbed).average))
    assert resumed.best_value == undisturbed.best_value
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    for name, trainer in (("one", resumed), ("other", undisturbed)):
        trainer.save_best(tmp_path / name)
    (one, said), (other, said_too) = read_weights(tmp_path / "one"), read_weights(tmp_path / "other")
    assert said == said_too
    assert one.keys() == other.keys()
    assert [name for name, array in one.items() if array.tobytes() != other[name].tobytes()] == []


@pytest.fixture
def saved(make_trainer, tmp_path):
    """Path of a checkpoint of epoch 2, with that of epoch 1 beside it, and the scores of three epochs."""
    trainer, path = make_trainer("lstm"), tmp_path / "checkpoint"
    expected = []
    for _ in range(2):
        expected.append(outcome(trainer.run_epoch()))
        trainer.save(path)
    return path, [*expected, outcome(trainer.run_epoch())]


def cut(path):
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_checkpoint_before_stays_beside_the_latest(saved, make_trainer):
    path, expected = saved
    for candidate, epoch in ((path, 2), (previous(path), 1)):
        resumed = make_trainer("lstm")
        resumed.resume(candidate, known=epoch)
        assert outcome(resumed.run_epoch()) == expected[epoch]


def test_behind_a_damaged_checkpoint_it_goes_on_from_the_one_before_and_says_so(saved, make_trainer):
    path, expected = saved
    cut(path)
    resumed = make_trainer("lstm")
    said = resumed.resume(path, known=2)
    assert said.startswith(f"{path} is damaged (")
    assert said.endswith("; it goes on from epoch 1")
    assert [outcome(resumed.run_epoch()) for _ in range(2)] == expected[1:]


def test_behind_two_damaged_checkpoints_it_begins_again_and_says_so(saved, make_trainer):
    path, expected = saved
    cut(path)
    cut(previous(path))
    resumed = make_trainer("lstm")
    said = resumed.resume(path, known=2)
    assert f"{path} is damaged (" in said
    assert f"{previous(path)} is damaged (" in said
    assert said.endswith("; it goes on from epoch 0")
    assert [outcome(resumed.run_epoch()) for _ in range(3)] == expected


def test_without_a_checkpoint_it_begins_and_says_nothing(make_trainer, tmp_path):
    trainer = make_trainer("lstm")
    assert trainer.resume(tmp_path / "checkpoint", known=0) == ""
    assert (trainer.epoch, trainer.last_score) == (0, None)


@pytest.mark.parametrize(("known", "epoch"), [(2, 2), (1, 2), (0, 1)])
def test_a_checkpoint_may_be_one_epoch_ahead_of_the_journal_and_no_more(saved, make_trainer, known, epoch):
    resumed = make_trainer("lstm")
    assert resumed.resume(saved[0], known) == ""
    assert resumed.epoch == epoch


@pytest.mark.parametrize(("since", "best"), [(0, True), (1, True), (2, False)])
def test_what_was_best_before_it_took_over_weights_is_not_its_own(saved, make_trainer, tmp_path, since, best):
    resumed = make_trainer("lstm")
    resumed.resume(saved[0], known=2, since=since)
    assert bool(resumed.best_epoch) == best
    assert math.isfinite(resumed.best_value) == best
    resumed.run_epoch()
    assert best or resumed.best_epoch == 3
    resumed.save_best(tmp_path / "best")
    assert NetworkPredictor.load(tmp_path / "best").look_back == 24


def test_without_an_average_the_raw_weights_are_judged(make_trainer, model):
    trainer = make_trainer(model, ema_decay=0.0)
    trainer.run_epoch()
    assert equal(weights(trainer.predictor.network), weights(learner(trainer).network))
    averaged = make_trainer(model, ema_decay=0.9)
    averaged.run_epoch()
    assert equal(
        weights(learner(averaged).network), weights(learner(trainer).network)
    )  # the average changes no training
    assert not equal(weights(averaged.predictor.network), weights(learner(averaged).network))


def test_the_average_by_hand(make_trainer):
    """The first step is taken as it is; step k then keeps (1 + k) / (10 + k) of the average, at most the decay."""
    trainer = make_trainer("lstm", ema_decay=0.2, steps_per_epoch=1)
    bias = []
    for _ in range(3):
        trainer.run_epoch()
        bias.append(learner(trainer).network.head.bias.item())
    average = bias[0]
    for keep, value in zip((2 / 11, 0.2), bias[1:], strict=True):
        average = keep * average + (1 - keep) * value
    assert trainer.predictor.network.head.bias.item() == pytest.approx(average, rel=1e-6)


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(0, [1, 1]), (1, [2 / 3, 2]), (0.5, [0.75**-0.5 / 1.3660254, 0.25**-0.5 / 1.3660254])],  # √0.75 + √0.25
)
def test_class_weights_by_hand(exponent, expected):
    label = np.array([0, 0, 0, 1], np.int8)
    weight = class_weights(label, exponent)
    assert weight.tolist() == pytest.approx(expected)
    assert weight[label.astype(int)].mean().item() == pytest.approx(1)


@pytest.mark.parametrize("mode", ["dense", "clip"])
def test_the_loss_of_an_undecided_network_is_ln_2(make_trainer, model, mode):
    """Over the judged steps alone: were the undefined ones of the warm-up counted, it would be more."""
    trainer = make_trainer(model, mode=mode, class_weight=0.0, steps_per_epoch=1)
    torch.nn.init.zeros_(learner(trainer).network.head.weight)
    torch.nn.init.zeros_(learner(trainer).network.head.bias)
    assert trainer.run_epoch().loss == pytest.approx(math.log(2), rel=1e-6)


def test_the_rate_warms_up_and_is_constant_behind(make_trainer, monkeypatch):
    trainer = make_trainer("lstm", learning_rate=0.01, warmup_steps=4, steps_per_epoch=3)
    rates = []
    step = learner(trainer).optimiser.step
    monkeypatch.setattr(
        learner(trainer).optimiser,
        "step",
        lambda: (rates.append(learner(trainer).optimiser.param_groups[0]["lr"]), step()),
    )
    for _ in range(3):
        trainer.run_epoch()
    assert rates == pytest.approx([0.0025, 0.005, 0.0075] + 6 * [0.01])


def test_the_rate_may_begin_at_its_height(make_trainer):
    trainer = make_trainer("lstm", learning_rate=0.01, warmup_steps=0, steps_per_epoch=1)
    trainer.run_epoch()
    assert learner(trainer).optimiser.param_groups[0]["lr"] == 0.01


def test_gradients_are_clipped(make_trainer):
    norms = []
    for clip_norm in (1e-4, 1e4):
        trainer = make_trainer("lstm", clip_norm=clip_norm)
        trainer.run_epoch()
        norms.append(torch.stack([p.grad.norm() for p in learner(trainer).network.parameters()]).norm().item())
    assert norms[0] == pytest.approx(1e-4, rel=1e-3)
    assert norms[1] > 1e-3


def test_constant_outputs_are_marked_as_collapsed(make_trainer, model):
    trainer = make_trainer(model, learning_rate=1e-12)
    torch.nn.init.zeros_(learner(trainer).network.head.weight)
    score = trainer.run_epoch()
    assert score.collapsed
    assert not make_trainer(model).run_epoch().collapsed


def test_a_rate_far_too_small_moves_no_weight(make_trainer, model):
    trainer = make_trainer(model, learning_rate=1e-12, weight_decay=0.0)
    before = learner(trainer).network.head.weight.clone()
    trainer.run_epoch()
    torch.testing.assert_close(learner(trainer).network.head.weight, before, rtol=0, atol=1e-9)


@pytest.mark.parametrize("metric", ["auc", "average_precision", "youden_j"])
def test_the_best_epoch_by_the_chosen_metric_is_kept(make_trainer, monkeypatch, tmp_path, tank, metric):
    values = iter([0.6, 0.9, 0.7])
    worst = {"auc": 0.5, "average_precision": 0.5, "youden_j": 0.5}
    monkeypatch.setattr(trainer_module, "scores", lambda *_: worst | {metric: next(values)})
    trainer = make_trainer("lstm", metric=f"validation_{metric}")
    found = [trainer.run_epoch().best_epoch]
    found.append(trainer.run_epoch().best_epoch)
    at_best = trainer.predictor.predict(tank.validation[0])
    found.append(trainer.run_epoch().best_epoch)
    assert found == [1, 2, 2]
    trainer.save(tmp_path / "checkpoint")
    trainer.save_best(tmp_path / "best")
    for path in ("checkpoint", "best"):
        kept = NetworkPredictor.load(tmp_path / path)
        np.testing.assert_array_equal(kept.predict(tank.validation[0]), at_best)
    assert not np.array_equal(trainer.predictor.predict(tank.validation[0]), at_best, equal_nan=True)


def test_the_test_split_is_not_touched(make_trainer, tank):
    without = Sequences(tank.train, tank.validation)
    assert outcome(make_trainer("lstm", data=without).run_epoch()) == outcome(make_trainer("lstm").run_epoch())


def test_validation_moves_no_weight(make_trainer, tank):
    one, other = make_trainer("lstm"), make_trainer("lstm", data=Sequences(tank.train, tank.test))
    assert one.run_epoch().validation_auc != other.run_epoch().validation_auc
    assert equal(weights(learner(one).network), weights(learner(other).network))


@pytest.mark.parametrize("mode", ["dense", "clip"])
def test_training_learns_the_known_bursts(make_trainer, model, mode):
    """A rest announces a burst: a few dozen steps are enough to rank validation well."""
    settings = {"steps_per_epoch": 60, "batch_size": 16, "learning_rate": 0.02, "mode": mode, "ema_decay": 0.9}
    if model == "convlstm":
        settings |= {"batch_size": 8, "channels": "differences"}
    assert make_trainer(model, **settings).run_epoch().validation_auc > 0.9


def test_clips_of_the_training_split_are_learnt_by_heart(make_trainer, model):
    told = []
    auc = make_trainer(model, learning_rate=0.02, weight_decay=0.0).overfit(16, lambda *step: told.append(step))
    assert auc >= 0.99
    assert told[-1][2] == auc
    assert [step for step, _, _ in told] == list(range(20, 20 * len(told) + 1, 20))


def test_recordings_of_different_frame_sizes_are_trained_together(make_trainer, tank, tmp_path):
    first, second, third = tank.train
    half = dataclasses.replace(second, frames=np.ascontiguousarray(second.frames[:, ::2, ::2]))
    data = Sequences((first, half, third), tank.validation)
    trainer = make_trainer("convlstm", data=data)
    assert math.isfinite(trainer.run_epoch().loss)
    trainer.save_best(tmp_path / "best")
    assert NetworkPredictor.load(tmp_path / "best").reads.frame_sizes == ((24, 32), (12, 16))


def test_reduced_precision_is_used_where_it_is_asked_for(make_trainer):
    losses = [
        make_trainer("convlstm", precision=precision).run_epoch().loss for precision in ("auto", "float32", "bfloat16")
    ]
    assert losses[0] == losses[1]  # a CPU computes in float32 unless told otherwise
    assert losses[2] != losses[1]
    assert losses[2] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize(("stop_at", "epochs"), [(99, 3), (2, 2)])
def test_fit_goes_on_until_the_last_epoch_or_until_it_is_told_to_stop(make_trial, tank, tmp_path, stop_at, epochs):
    told = []

    def report(score):
        told.append(score)
        return score.epoch < stop_at

    last = fit(make_trial("lstm", **SMALL["lstm"]), tank, tmp_path / "out", report, CPU, max_epochs=3)
    assert [score.epoch for score in told] == list(range(1, epochs + 1))
    assert last == told[-1]
    assert NetworkPredictor.load(tmp_path / "out" / "best").look_back == 24


@pytest.mark.parametrize("gpus", [0.25, 1])
def test_a_gpu_that_is_not_there_is_an_error(monkeypatch, gpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ResourceError, match=r"a GPU was asked for, but torch can use none here; set resources: \{gpus: 0\}"
    ):
        choose_device(gpus)
    assert choose_device(0) == CPU


def test_a_gpu_is_used_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(0.25).type == "cuda"
    assert choose_device(0) == CPU


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("torch can use no GPU here")
    return torch.device("cuda")


@pytest.mark.gpu
def test_a_gpu_computes_in_bfloat16_and_agrees_with_the_cpu(make_trainer, model, gpu):
    settings = {"dropout": 0.0, "steps_per_epoch": 20}
    here, there = make_trainer(model, **settings), make_trainer(model, device=gpu, **settings)
    exact = make_trainer(model, device=gpu, precision="float32", **settings)
    losses = [trainer.run_epoch().loss for trainer in (here, there, exact)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[2] == pytest.approx(losses[0], rel=1e-3)
    assert losses[1] != losses[2]
    assert all(value.dtype == torch.float32 for value in learner(there).network.parameters())
    assert there.predictor.device.type == "cuda"


@pytest.mark.gpu
def test_what_a_gpu_trained_predicts_the_same_on_a_cpu(make_trainer, model, gpu, tank, tmp_path):
    trainer = make_trainer(model, device=gpu)
    trainer.run_epoch()
    trainer.save_best(tmp_path / "best")
    trainer.save(tmp_path / "checkpoint")
    kept = NetworkPredictor.load(tmp_path / "best")
    assert kept.device.type == "cpu"
    sequence = tank.validation[0]
    np.testing.assert_allclose(kept.predict(sequence), trainer.predictor.predict(sequence), atol=1e-3)
    resumed = make_trainer(model, device=gpu)
    assert resumed.resume(tmp_path / "checkpoint", known=1) == ""
    assert resumed.run_epoch().loss == pytest.approx(trainer.run_epoch().loss, rel=0.01)


@pytest.mark.gpu
def test_a_gpu_learns_clips_by_heart(make_trainer, model, gpu):
    trainer = make_trainer(model, device=gpu, learning_rate=0.02, weight_decay=0.0)
    assert trainer.overfit(16, lambda *_: None) >= 0.99
