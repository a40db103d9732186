"""The layer's own gradients against those that autograd finds through the cell as it is published."""

import pytest
import torch
from torch.nn import functional

from fishray.config.trial import ConvLstmSettings
from fishray.predictors import convlstm_layer
from fishray.predictors.convlstm import ConvLstmNetwork
from fishray.predictors.convlstm_layer import GROUP_STEPS, ConvLstmLayer
from fishray.predictors.inputs import Inputs

STEPS, BATCH, CHANNELS, FILTERS = 2 * GROUP_STEPS + 1, 2, 4, 3
ALL = frozenset({"maps", "max", "mean"})


def published_cell(layer, input_sbchw, state):
    """The same outputs, by one convolution of [x, h] in each step."""
    weight = torch.cat([layer.input.weight, layer.recurrent.weight], dim=1)
    gate = torch.sigmoid if layer.gate == "sigmoid" else lambda x: (0.2 * x + 0.5).clamp(0, 1)
    hidden, cell = state
    maps = []
    for step_bchw in input_sbchw:
        driven = functional.conv2d(torch.cat([step_bchw, hidden], dim=1), weight, layer.input.bias, padding="same")
        admit, keep, new, emit = driven.chunk(4, dim=1)
        cell = gate(keep) * cell + gate(admit) * torch.tanh(new)
        hidden = gate(emit) * torch.tanh(cell)
        maps.append(hidden)
    maps_sbfhw = torch.stack(maps)
    return hidden, cell, maps_sbfhw, maps_sbfhw.amax((3, 4)), maps_sbfhw.mean((3, 4))


def gradients(tensors, loss):
    return torch.autograd.grad(loss, tensors, allow_unused=True)


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("maps", ["small", "large"])
@pytest.mark.parametrize("state", ["given", "none"])
@pytest.mark.parametrize("settings", [{}, {"gate": "hard_sigmoid", "bias": False}, {"kernel": 5}])
def test_outputs_and_gradients_are_those_of_the_published_cell(random, settings, state, maps, monkeypatch):
    if maps == "large":  # a convolution for each gate
        monkeypatch.setattr(convlstm_layer, "VECTOR", 1)
        monkeypatch.setattr(convlstm_layer, "LARGE", 1)
    torch.manual_seed(0)
    layer = ConvLstmLayer(CHANNELS, FILTERS, 1, ConvLstmSettings(**settings))
    input_sbchw = torch.randn((STEPS, BATCH, CHANNELS, 6, 5), generator=random, requires_grad=True)
    first = [torch.randn((BATCH, FILTERS, 6, 5), generator=random, requires_grad=True) for _ in range(2)]
    given = first if state == "given" else None
    zero = [torch.zeros(BATCH, FILTERS, 6, 5)] * 2
    expected = published_cell(layer, input_sbchw, given or zero)
    for ours, theirs in zip(layer(input_sbchw, given, ALL), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    tensors = [input_sbchw, *layer.parameters(), *(given or [])]
    weights = [torch.randn(each.shape, generator=random) for each in expected]
    for chosen in ([0], [1], [2], [3], [4], [0, 1, 2, 3, 4]):
        ours, theirs = (
            gradients(tensors, sum((values[i] * weights[i]).sum() for i in chosen))
            for values in (layer(input_sbchw, given, ALL), published_cell(layer, input_sbchw, given or zero))
        )
        for one, other in zip(ours, theirs, strict=True):
            assert (one - other).norm() <= 1e-5 * other.norm(), chosen


def test_a_maximum_reached_in_several_places_shares_its_gradient(random):
    """A black background: every pixel but those near the rim is the same."""
    layer = ConvLstmLayer(1, 2, 1, ConvLstmSettings(kernel=1))
    input_sbchw = torch.zeros((3, 1, 1, 2, 2), requires_grad=True)
    (gradient,) = gradients([input_sbchw], layer(input_sbchw, None, frozenset({"max"})).maximum_sbf.sum())
    assert (gradient != 0).all()
    assert (gradient == gradient[..., :1, :1]).all()


def network_gradients(first=4, **settings):
    """Loss and gradients of a network in training, and its weights' names."""
    torch.manual_seed(0)
    network = ConvLstmNetwork(ConvLstmSettings(filters=(3, 2), **settings)).train()
    random = torch.Generator().manual_seed(1)
    inputs = Inputs(torch.zeros(2, 44), torch.rand((2, 44, 2, 8, 12), generator=random))
    logits, _ = network(inputs, None, first)
    assert logits.shape == (2, 11 - first)
    loss = (logits * torch.randn(logits.shape, generator=random)).sum()
    return [loss.detach(), *torch.autograd.grad(loss, [*network.parameters()])]


@pytest.mark.parametrize("settings", [{}, {"readout": "max"}, {"readout": "mean", "readout_norm": False}])
@pytest.mark.parametrize("steps", [1, 4, 100])
def test_gradients_do_not_depend_on_how_many_steps_are_kept_at_a_time(settings, steps):
    for one, other in zip(
        network_gradients(checkpoint_steps=steps, **settings), network_gradients(**settings), strict=True
    ):
        assert (one - other).norm() <= 1e-5 * other.norm()


def test_batch_normalisation_sees_whole_crops_whatever_is_kept():
    for one, other in zip(
        network_gradients(checkpoint_steps=2, batch_norm=True), network_gradients(batch_norm=True), strict=True
    ):
        assert torch.equal(one, other)


def test_a_warm_up_without_gradients_gives_the_same_loss_and_other_gradients():
    full, short = network_gradients(), network_gradients(warm_up="no_gradients")
    assert torch.equal(full[0], short[0])
    assert not torch.allclose(full[1], short[1], rtol=0.01)


def test_a_warm_up_without_gradients_only_sets_the_state():
    torch.manual_seed(0)
    network = ConvLstmNetwork(ConvLstmSettings(filters=(3,), warm_up="no_gradients", readout_norm=False)).train()
    pixels = torch.rand(2, 44, 2, 8, 12)
    with torch.no_grad():
        _, state = network(Inputs(torch.zeros(2, 16), pixels[:, :16]), None)
    behind, _ = network(Inputs(torch.zeros(2, 28), pixels[:, 16:]), state)
    expected = torch.autograd.grad(behind.sum(), [*network.parameters()])
    whole, _ = network(Inputs(torch.zeros(2, 44), pixels), None, 4)
    for one, other in zip(torch.autograd.grad(whole.sum(), [*network.parameters()]), expected, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_from_a_step_on_are_those_of_all(batch_norm):
    network = ConvLstmNetwork(ConvLstmSettings(filters=(3,), batch_norm=batch_norm)).eval()
    inputs = Inputs(torch.zeros(1, 20), torch.rand(1, 20, 2, 8, 12))
    with torch.no_grad():
        every, _ = network(inputs, None)
        last, _ = network(inputs, None, 4)
    torch.testing.assert_close(last, every[:, 4:])


def test_reduced_precision_reads_out_in_full():
    """A mean over a map hardly varies: rounded to 8 bits, its changes would be lost."""
    layer = ConvLstmLayer(CHANNELS, FILTERS, 1, ConvLstmSettings())
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(torch.rand(3, 1, CHANNELS, 6, 5), None, ALL)
    assert outputs.maps_sbfhw.dtype == outputs.hidden_bfhw.dtype == torch.bfloat16
    assert outputs.mean_sbf.dtype == outputs.maximum_sbf.dtype == torch.float32
    outputs.mean_sbf.sum().backward()
    assert layer.recurrent.weight.grad.dtype == torch.float32
