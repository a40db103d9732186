import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fishray.config.trial import ConvLstmSettings
from fishray.errors import WeightsError
from fishray.predictors import network as network_module
from fishray.predictors.network import NetworkPredictor, normalise_by
from fishray.weights import BEST, under, write_weights

LOOK_BACK = 24
STEPS = [1, 3, 4, 5]


@pytest.fixture
def make_predictor(make_trial, tank):
    """Make a network with fresh weights that knows the scales of the tank."""

    def make(model, **settings):
        torch.manual_seed(0)
        predictor = NetworkPredictor(make_trial(model, **settings), LOOK_BACK, ((24, 32),))
        normalise_by(predictor.network, tank.train, [predictor.inputs(s) for s in tank.train])
        return predictor

    return make


@pytest.fixture(params=["lstm", "convlstm"])
def model(request):
    return request.param


@pytest.mark.parametrize("frames_per_step", STEPS)
@pytest.mark.parametrize("mode", ["clip", "dense", "stateful"])
def test_every_frame_behind_the_look_back_has_a_probability(make_predictor, tank, model, mode, frames_per_step):
    predictor = make_predictor(model, frames_per_step=frames_per_step, judged_frames=20)
    for sequence in (tank.train[0], tank.validation[0]):
        probability = predictor.predict(sequence, mode)
        assert probability.shape == (sequence.frame_count,)
        assert np.flatnonzero(np.isfinite(probability)).tolist() == list(range(LOOK_BACK - 1, sequence.frame_count))


@pytest.mark.parametrize("mode", ["clip", "dense", "stateful"])
def test_a_sequence_shorter_than_the_look_back_has_no_probability(make_predictor, make_sequence, model, mode):
    frames_thw = np.zeros((LOOK_BACK - 1, 24, 32), np.uint8)
    probability = make_predictor(model).predict(make_sequence(frames_thw), mode)
    assert np.isnan(probability).all()
    assert len(probability) == LOOK_BACK - 1


@pytest.mark.parametrize("frames_per_step", [1, 4])
def test_the_first_frame_judged_is_alike_in_all_modes(make_predictor, tank, model, frames_per_step):
    """What lies behind frame 23 is one clip, whichever way it is seen."""
    predictor = make_predictor(model, frames_per_step=frames_per_step)
    clip, dense, stateful = (predictor.predict(tank.train[0], mode) for mode in ("clip", "dense", "stateful"))
    assert clip[LOOK_BACK - 1] == pytest.approx(dense[LOOK_BACK - 1], abs=1e-6)
    assert clip[LOOK_BACK - 1] == pytest.approx(stateful[LOOK_BACK - 1], abs=1e-6)
    assert np.abs(clip - stateful)[LOOK_BACK:].max() > 1e-6  # later ones remember more


@pytest.mark.parametrize("frames_per_step", [1, 4])
def test_one_long_crop_is_a_stateful_pass(make_predictor, tank, model, frames_per_step):
    predictor = make_predictor(model, frames_per_step=frames_per_step, judged_frames=240)
    dense, stateful = (predictor.predict(tank.train[0], mode) for mode in ("dense", "stateful"))
    np.testing.assert_allclose(dense, stateful, atol=1e-6)


@pytest.mark.parametrize("fuse_speed", [False, True])
@pytest.mark.parametrize("filters", [(2,), (2, 3)])
def test_a_memory_is_carried_along_as_the_maps_are(make_predictor, tank, filters, fuse_speed):
    settings = {"memory": 3, "filters": filters, "fuse_speed": fuse_speed, "judged_frames": 240}
    predictor = make_predictor("convlstm", **settings)
    dense, stateful = (predictor.predict(tank.train[0], mode) for mode in ("dense", "stateful"))
    np.testing.assert_allclose(dense, stateful, atol=1e-6)


@pytest.mark.parametrize("frames_per_step", STEPS)
def test_a_stateful_pass_is_a_fresh_run_from_the_start_of_the_sequence(make_predictor, tank, model, frames_per_step):
    predictor = make_predictor(model, frames_per_step=frames_per_step)
    inputs = predictor.inputs(tank.train[0])
    stateful = predictor.predict(tank.train[0], "stateful")
    for i in (LOOK_BACK - 1, 101, 102, 103, 239):
        phase = (i + 1) % frames_per_step
        with torch.no_grad():
            logits, _ = predictor.network.eval()(inputs.take(phase, i + 1 - phase), None)
        assert stateful[i] == pytest.approx(torch.sigmoid(logits[0, -1]).item(), abs=1e-6)


@pytest.mark.parametrize("frames_per_step", [1, 4])
@pytest.mark.parametrize("chunk_steps", [1, 7, 500])
def test_borders_of_chunks_cannot_be_seen(make_predictor, tank, model, monkeypatch, frames_per_step, chunk_steps):
    predictor = make_predictor(
        model, frames_per_step=frames_per_step, **({"fuse_speed": True} if model == "convlstm" else {})
    )
    before = predictor.predict(tank.train[0], "stateful")
    monkeypatch.setattr(network_module, "CHUNK_STEPS", chunk_steps)
    np.testing.assert_allclose(predictor.predict(tank.train[0], "stateful"), before, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 5, 1000])
def test_a_clip_does_not_know_which_others_are_judged_beside_it(make_predictor, tank, model, monkeypatch, at_once):
    predictor = make_predictor(model)
    before = predictor.predict(tank.validation[0], "clip")
    monkeypatch.setattr(network_module, "CROPS_AT_ONCE", at_once)
    np.testing.assert_allclose(predictor.predict(tank.validation[0], "clip"), before, atol=1e-6)


def test_prediction_is_as_trained_unless_said_otherwise(make_predictor, tank, model):
    sequence = tank.validation[0]
    for mode, own in (("clip", "clip"), ("dense", "stateful")):
        predictor = make_predictor(model, mode=mode)
        np.testing.assert_array_equal(predictor.predict(sequence), predictor.predict(sequence, own))


def test_prediction_leaves_out_dropout_and_changes_nothing(make_predictor, tank, model):
    predictor = make_predictor(model, dropout=0.9)
    predictor.network.train()
    before = {name: value.clone() for name, value in predictor.network.state_dict().items()}
    first, second = predictor.predict(tank.validation[0]), predictor.predict(tank.validation[0])
    np.testing.assert_array_equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in predictor.network.state_dict().items())


def test_scales_are_those_of_train(make_predictor, tank):
    network = make_predictor("convlstm", downsample=1).network
    speed = np.concatenate([sequence.speed for sequence in tank.train])
    assert network.speed_scale.mean.item() == pytest.approx(speed.mean())
    assert network.speed_scale.std.item() == pytest.approx(speed.std())
    squares = np.mean([np.square(np.diff(s.frames / 255.0, axis=0)).mean() for s in tank.train])
    assert network.difference_scale.std.item() == pytest.approx(np.sqrt(squares), rel=0.05)  # frames 1 … 239, rounded
    assert network.difference_scale.mean.item() == 0


def test_what_is_unknown_counts_as_average(make_predictor):
    scale = make_predictor("lstm").network.speed_scale
    values = torch.tensor([torch.nan, scale.mean, scale.mean + scale.std])
    assert scale(values).tolist() == pytest.approx([0, 0, 1], abs=1e-5)


def test_what_a_predictor_reads(make_predictor):
    reads = make_predictor("lstm").reads
    assert (reads.speed, reads.frame_sizes, reads.look_back) == (True, (), LOOK_BACK)
    assert make_predictor("convlstm").reads.frame_sizes == ((24, 32),)
    assert [make_predictor("convlstm", fuse_speed=fuse).reads.speed for fuse in (False, True)] == [False, True]


@pytest.mark.parametrize(
    ("model", "settings"),
    [("lstm", {}), ("lstm", {"cell": "gru", "layers": 2}), ("convlstm", {}),
     ("convlstm", {"filters": (2, 3), "batch_norm": True, "fuse_speed": True})],
)  # fmt: skip
def test_what_was_saved_predicts_the_same(make_predictor, tank, tmp_path, model, settings):
    predictor = make_predictor(model, **settings)
    predictor.save(tmp_path / "best", validation_probability=np.array([0.5, 0.25], np.float32))
    loaded = NetworkPredictor.load(tmp_path / "best")
    assert (loaded.config, loaded.look_back, loaded.frame_sizes) == (predictor.config, LOOK_BACK, ((24, 32),))
    np.testing.assert_array_equal(loaded.predict(tank.validation[0]), predictor.predict(tank.validation[0]))
    assert load_file(tmp_path / "best")["array.validation_probability"].tolist() == [0.5, 0.25]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "cut", "text", "other tensors", "other settings", "no settings"]
)
def test_damaged_weights_are_one_line_for_a_person(make_predictor, make_trial, tmp_path, damage):
    path = tmp_path / "best"
    predictor = make_predictor("lstm")
    predictor.save(path)
    arrays, metadata = predictor.packed()
    if damage == "missing":
        path.unlink()
    elif damage == "other tensors":
        write_weights(path, {"network.a": np.zeros(1)}, metadata)
    elif damage == "other settings":
        other = make_trial("lstm", hidden=9).model_dump(mode="json")
        write_weights(path, arrays, {**metadata, "config": other})
    elif damage == "no settings":
        write_weights(path, arrays, {})
    else:
        path.write_bytes({"empty": b"", "cut": path.read_bytes()[:-100], "text": b"not weights at all"}[damage])
    says = {"missing": "no weights at .*best", "other": r"no usable weights at .*best \(", "no": "no usable weights at"}
    with pytest.raises(WeightsError, match=says.get(damage.split()[0], r"best is damaged \(")) as caught:
        NetworkPredictor.load(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_loaded_as_its_best_epoch_and_without_one_it_is_refused(make_predictor, tank, tmp_path):
    predictor, path = make_predictor("lstm"), tmp_path / "checkpoint"
    arrays, metadata = predictor.packed()
    latest = {"network.head.bias": np.zeros(1)}  # of a later epoch, with other names below network. left out
    write_weights(path, latest | under(arrays, BEST), {"epoch": 3, **under(metadata, BEST)})
    loaded = NetworkPredictor.load(path)
    np.testing.assert_array_equal(loaded.predict(tank.validation[0]), predictor.predict(tank.validation[0]))
    write_weights(path, arrays, {"epoch": 0})
    with pytest.raises(WeightsError, match=r"no usable weights at .*checkpoint"):
        NetworkPredictor.load(path)


def test_frames_are_asked_for_where_they_are_read(make_predictor, make_sequence):
    with pytest.raises(ValueError, match="tank was loaded without frames"):
        make_predictor("convlstm").predict(make_sequence(speed=np.zeros(50)))


def test_the_published_model_is_a_point_of_the_space():
    settings = ConvLstmSettings.published()
    assert ConvLstmSettings.model_validate_json(json.dumps(settings.model_dump(mode="json"))) == settings
    assert (settings.mode, settings.frames_per_step, settings.filters, settings.readout) == ("clip", 4, (16,), "max")
