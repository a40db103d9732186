import math

import numpy as np
import pytest
import torch

from fishray.config.trial import ConvLstmSettings, TrialConfig
from fishray.predictors.convlstm import ConvLstmNetwork, load_keras_weights
from fishray.predictors.convlstm_layer import ConvLstmLayer, keras_hard_sigmoid
from fishray.predictors.inputs import DIFFERENCE, GREY, Inputs, SequenceInputs
from fishray.predictors.network import NetworkPredictor
from fishray.sequences import Sequence
from fishray.signals.speed import frame_speed

CPU = torch.device("cpu")


@pytest.fixture
def reference(shared):
    """Weights of the published Keras model, three clips, and what Keras says of them."""
    with np.load(shared / "reference" / "keras_convlstm2d_upbeat_snowflake_91.npz") as file:
        return dict(file)


def pixels(frames=8, height=12, width=16, seed=0):
    """Random grey levels and differences, shape (1, t, 2, h, w)."""
    return torch.rand((1, frames, 2, height, width), generator=torch.Generator().manual_seed(seed))


def run(network, pixels_btchw, speed_bt=None):
    network.eval()
    speed_bt = torch.zeros(pixels_btchw.shape[:2]) if speed_bt is None else speed_bt
    with torch.no_grad():
        return network(Inputs(speed_bt, pixels_btchw), None)


@pytest.mark.shared
def test_the_published_model_gives_the_probabilities_of_keras(reference):
    network = ConvLstmNetwork(ConvLstmSettings.published())
    load_keras_weights(network, reference)
    grey_btchw = torch.from_numpy(reference["clips"]).float()[:, :, None] / 255
    pixels_btchw = torch.cat([grey_btchw, torch.zeros_like(grey_btchw)], dim=2)
    logits, _ = run(network, pixels_btchw)
    assert logits.shape == (3, 30)
    np.testing.assert_allclose(torch.sigmoid(logits[:, -1]), reference["probability"], rtol=0, atol=1e-5)
    assert np.ptp(reference["probability"]) > 0.6


@pytest.mark.shared
def test_the_published_model_as_a_predictor_gives_the_probabilities_of_keras(reference):
    settings = ConvLstmSettings.published()
    network = ConvLstmNetwork(settings)
    load_keras_weights(network, reference)
    config = TrialConfig(id="published", family="convlstm", number=0, seed=0, settings=settings)
    predictor = NetworkPredictor(config, 120, ((120, 160),), network)
    clip_thw = reference["clips"][0]
    label = np.full(120, -1, np.int8)
    sequence = Sequence("clip", 0, 30.0, frame_speed(clip_thw), label, clip_thw, look_back=120)
    probability = predictor.predict(sequence)
    assert probability[119] == pytest.approx(reference["probability"][0], abs=1e-5)
    assert np.isnan(probability[:119]).all()


def test_the_hard_sigmoid_is_that_of_keras_2():  # torch's, and that of Keras 3, has slope 1/6
    x = torch.tensor([-9.0, -2.5, -1.0, 0.0, 1.0, 2.5, 9.0])
    assert keras_hard_sigmoid(x).tolist() == pytest.approx([0, 0, 0.3, 0.5, 0.7, 1, 1])


def test_two_steps_of_one_pixel_by_hand():
    """Kernel 1: i, f, c, o see 1, 2, 3, 4 times the input and 0.1, 0.2, 0.3, 0.4 times the last output."""
    layer = ConvLstmLayer(1, 1, 1, ConvLstmSettings(kernel=1))
    with torch.no_grad():
        layer.input.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1))
        layer.recurrent.weight.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]).view(4, 1, 1, 1))
    hidden, cell, maps, *_ = layer(torch.tensor([0.5, -0.25]).view(2, 1, 1, 1, 1), None)

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    cell_0 = sigmoid(0.5) * math.tanh(1.5)
    hidden_0 = sigmoid(2.0) * math.tanh(cell_0)
    forget_1 = sigmoid(2 * -0.25 + 1 + 0.2 * hidden_0)  # its bias is 1 at first
    cell_1 = forget_1 * cell_0 + sigmoid(-0.25 + 0.1 * hidden_0) * math.tanh(3 * -0.25 + 0.3 * hidden_0)
    hidden_1 = sigmoid(4 * -0.25 + 0.4 * hidden_0) * math.tanh(cell_1)
    assert maps.flatten().tolist() == pytest.approx([hidden_0, hidden_1])
    assert (hidden.item(), cell.item()) == pytest.approx((hidden_1, cell_1))


def test_gates_may_be_hard():  # 0.2 · 0.5 + 0.5 and 0.2 · 2 + 0.5
    layer = ConvLstmLayer(1, 1, 1, ConvLstmSettings(kernel=1, gate="hard_sigmoid", bias=False))
    with torch.no_grad():
        layer.input.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1))
    hidden, cell, *_ = layer(torch.full((1, 1, 1, 1, 1), 0.5), None)
    assert cell.item() == pytest.approx(0.6 * math.tanh(1.5))
    assert hidden.item() == pytest.approx(0.9 * math.tanh(0.6 * math.tanh(1.5)))


@pytest.mark.parametrize(
    ("settings", "maps"),
    [
        ({"filters": (3,)}, [(3, 12, 16)]),
        ({"filters": (3,), "padding": "valid"}, [(3, 10, 14)]),
        ({"filters": (3,), "kernel": 5, "padding": "valid"}, [(3, 8, 12)]),
        ({"filters": (3,), "input_stride": 2}, [(3, 6, 8)]),
        ({"filters": (3,), "input_stride": 2, "padding": "valid"}, [(3, 5, 7)]),
        ({"filters": (3, 5)}, [(3, 12, 16), (5, 6, 8)]),
        ({"filters": (3, 5), "pool": False}, [(3, 12, 16), (5, 12, 16)]),
        ({"filters": (3, 5), "input_stride": 2}, [(3, 6, 8), (5, 3, 4)]),  # the second layer has no stride
        ({"filters": (3, 5), "padding": "valid", "batch_norm": True}, [(3, 10, 14), (5, 3, 5)]),
    ],
)
def test_each_layer_has_maps_of_the_expected_size(settings, maps):
    logits, (states, _) = run(ConvLstmNetwork(ConvLstmSettings(**settings)), pixels())
    assert logits.shape == (1, 2)  # 8 frames in steps of 4
    assert [tuple(hidden.shape[1:]) for hidden, _ in states] == maps
    assert [tuple(cell.shape[1:]) for _, cell in states] == maps


@pytest.mark.parametrize("memory", [0, 3])
def test_the_last_steps_alone_are_as_they_are_among_all(memory):
    settings = ConvLstmSettings(filters=(2,), frames_per_step=2, fuse_speed=True, memory=memory, checkpoint_steps=3)
    network = ConvLstmNetwork(settings).eval()
    inputs = Inputs(torch.rand((1, 16), generator=torch.Generator().manual_seed(1)), pixels(16))
    whole, last = network(inputs, None)[0], network(inputs, None, 5)[0]
    assert last.shape == (1, 3)
    torch.testing.assert_close(last, whole[:, 5:])


@pytest.mark.parametrize(
    ("readout", "features"), [("max", [4.0, 9.0]), ("mean", [2.5, 6.0]), ("both", [4.0, 9.0, 2.5, 6.0])]
)
def test_readout_by_hand(readout, features):
    network = ConvLstmNetwork(ConvLstmSettings(filters=(2,), readout=readout))
    maps_sbfhw = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[3.0, 9.0], [5.0, 7.0]]])[None, None]
    assert network._readout(maps_sbfhw).flatten().tolist() == features
    assert network.head.in_features == len(features)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [("frames", [0, 2, 4, 6]), ("differences", [1, 3, 5, 7]), ("both", [0, 2, 4, 6, 1, 3, 5, 7])],
)
def test_the_frames_of_a_step_are_its_channels_in_order_of_time(channels, expected):
    network = ConvLstmNetwork(ConvLstmSettings(channels=channels, frames_per_step=4))
    values = torch.arange(16.0).view(1, 8, 2, 1, 1)  # frame t has grey level 2 t and difference 2 t + 1
    steps = network._steps(values.unflatten(1, (2, 4)))
    assert steps[0, 0].flatten().tolist() == expected
    assert steps[1, 0].flatten().tolist() == [value + 8 for value in expected]


@pytest.mark.parametrize(("channels", "read"), [("frames", GREY), ("differences", DIFFERENCE)])
def test_what_is_not_among_the_channels_is_not_read(channels, read):
    network = ConvLstmNetwork(ConvLstmSettings(channels=channels))
    before, _ = run(network, pixels())
    for channel in (GREY, DIFFERENCE):
        changed = pixels()
        changed[:, :, channel] = pixels(seed=1)[:, :, channel]
        assert torch.equal(run(network, changed)[0], before) == (channel != read)


@pytest.mark.parametrize("fuse_speed", [False, True])
def test_the_head_sees_the_speeds_of_the_step_where_they_are_fused_in(fuse_speed):
    network = ConvLstmNetwork(ConvLstmSettings(fuse_speed=fuse_speed))
    before, _ = run(network, pixels())
    speed_bt = torch.zeros(1, 8)
    speed_bt[0, 4:] = 1.0
    after, _ = run(network, pixels(), speed_bt)
    assert after[0, 0] == before[0, 0]
    assert (after[0, 1] != before[0, 1]) == fuse_speed


@pytest.mark.parametrize("stop", [4, 8, 12])
def test_a_pass_in_two_parts_with_the_state_is_the_pass_in_one(stop):
    network = ConvLstmNetwork(ConvLstmSettings(filters=(3, 2), fuse_speed=True)).eval()
    whole = Inputs(torch.rand(1, 16), pixels(16))
    with torch.no_grad():
        expected, _ = network(whole, None)
        first, state = network(Inputs(*(values[:, :stop] for values in whole)), None)
        second, _ = network(Inputs(*(values[:, stop:] for values in whole)), state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), expected)


@pytest.mark.parametrize("downsample", [1, 2, 3, 4])
def test_the_mean_of_averaged_differences_is_the_last_known_speed(make_sequence, downsample):
    frames_thw = np.random.default_rng(0).integers(0, 256, (30, 24, 36), dtype=np.uint8)
    inputs = SequenceInputs(make_sequence(frames_thw), downsample, CPU)
    taken = inputs.take(5, 20, fresh=False)
    assert taken.pixels_btchw.shape == (1, 20, 2, 24 // downsample, 36 // downsample)
    mean_t = taken.pixels_btchw[0, :, DIFFERENCE].double().mean((1, 2))
    np.testing.assert_allclose(mean_t, frame_speed(frames_thw)[4:24], rtol=1e-6)
    np.testing.assert_allclose(taken.speed_bt[0], frame_speed(frames_thw)[4:24], rtol=1e-6)
    grey_t = taken.pixels_btchw[0, :, GREY].double().mean((1, 2))
    np.testing.assert_allclose(grey_t, frames_thw[5:25].mean((1, 2)) / 255, rtol=1e-6)


def test_a_rest_at_the_rim_is_left_out_of_averages(make_sequence):
    frames_thw = np.zeros((30, 5, 7), np.uint8)
    frames_thw[1, 4, 6] = 255
    frames_thw[2, 3, 5] = 255
    pixels_tchw = SequenceInputs(make_sequence(frames_thw), 2, CPU).take(0, 4).pixels_btchw[0]
    assert pixels_tchw.shape == (4, 2, 2, 3)
    assert pixels_tchw[:, GREY].amax((1, 2)).tolist() == [0, 0, 0.25, 0]
    assert pixels_tchw[:, DIFFERENCE].amax((1, 2)).tolist() == [0, 0, 0.25, 0.25]


def test_differences_go_on_across_blocks(make_sequence, monkeypatch):
    monkeypatch.setattr("fishray.predictors.inputs.BLOCK_FRAMES", 7)
    frames_thw = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    pixels_tchw = SequenceInputs(make_sequence(frames_thw), 2, CPU).take(0, 30).pixels_btchw[0]
    np.testing.assert_allclose(pixels_tchw[1:, DIFFERENCE].double().mean((1, 2)), frame_speed(frames_thw), rtol=1e-6)


def test_a_crop_that_begins_anew_knows_nothing_before_it(make_sequence):
    frames_thw = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    for downsample in (1, 2):
        taken = SequenceInputs(make_sequence(frames_thw), downsample, CPU).take(9, 5)
        assert torch.isnan(taken.speed_bt[0]).tolist() == [True, False, False, False, False]
        assert (taken.pixels_btchw[0, 0, DIFFERENCE] == 0).all()
        assert (taken.pixels_btchw[0, 1, DIFFERENCE] > 0).any()


def test_frames_that_nobody_may_write_to_are_read_in_silence(make_sequence):
    frames_thw = np.zeros((30, 4, 4), np.uint8)
    frames_thw.flags.writeable = False
    torch.set_warn_always(True)  # else torch warns once, and an earlier test may have had it
    try:
        SequenceInputs(make_sequence(frames_thw), 1, CPU)
    finally:
        torch.set_warn_always(False)
