"""One convolutional LSTM layer; its gradients are written out, for autograd would read, write and keep twice as much.

Maps lie step after step and pixel after pixel, channels innermost: so convolutions are fastest on a CPU. Large maps
have a convolution for each gate, if its channels fill a vector of the processor: what follows is faster on gates that
lie in one piece each. Nothing but torch's own operations is called, so a network needs no compiler, and gives the same
with and without one. A tanh(x) is 2 sigmoid(2 x) - 1, which torch computes ten times as fast; doubling the weights of
the new content, which is exact, gives its 2 x for nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fishray.config.trial import ConvLstmSettings

GROUP_STEPS = 3
"""Steps whose input convolutions are one call: as fast as one call for all, in a fraction of the memory."""
VECTOR, LARGE = 16, 1 << 14
"""Channels that a processor's vector holds, and pixels of a step's maps that are worth a convolution for each gate."""

State = tuple[Tensor, Tensor]

aten = torch.ops.aten


def keras_hard_sigmoid(x: Tensor) -> Tensor:
    """Keras 2's: clip(0.2 x + 0.5, 0, 1), in place; torch's and Keras 3's have slope 1/6."""
    return x.mul_(0.2).add_(0.5).clamp_(0, 1)


def _through_sigmoid(grad: Tensor, output: Tensor, out: Tensor) -> None:
    aten.sigmoid_backward.grad_input(grad, output, grad_input=out)


def _through_hard_sigmoid(grad: Tensor, output: Tensor, out: Tensor) -> None:
    aten.hardtanh_backward.grad_input(grad, output, 0, 1, grad_input=out)
    out.mul_(0.2)


class Gate(NamedTuple):
    """What opens and closes a gate."""

    open: Callable[[Tensor], Tensor]
    """In place."""
    through: Callable[[Tensor, Tensor, Tensor], None]
    """From the gradient of what it gave, and what it gave, the gradient of what it was given, into a third tensor."""


GATES = {
    "sigmoid": Gate(torch.sigmoid_, _through_sigmoid),
    "hard_sigmoid": Gate(keras_hard_sigmoid, _through_hard_sigmoid),
}


@dataclass(frozen=True)
class Plan:
    """What the recurrence is told besides tensors."""

    stride: int
    padding: int
    gate: str
    dtype: torch.dtype
    """Of all maps; weights are cast to it, and their gradients summed in float32."""
    keep: bool
    """What gradients need; False where none are asked for."""
    give: frozenset[str]
    """Of every step: its hidden maps ("maps"), and what is pooled from them ("max", "mean")."""
    parts: int
    """Convolutions that drive the four gates: one, or one for each."""


class Outputs(NamedTuple):
    """What a layer gives; the state behind the last step is a hidden map and a cell, shape (b, filters, h, w)."""

    hidden_bfhw: Tensor
    cell_bfhw: Tensor
    maps_sbfhw: Tensor | None
    maximum_sbf: Tensor | None
    mean_sbf: Tensor | None


class ConvLstmLayer(nn.Module):
    """One layer; gates in the order input, forget, cell, output, as in Keras."""

    def __init__(self, channels: int, filters: int, stride: int, settings: ConvLstmSettings):
        super().__init__()
        kernel = settings.kernel
        padding = kernel // 2 if settings.padding == "same" else 0
        self.input = nn.Conv2d(channels, 4 * filters, kernel, stride, padding, bias=settings.bias)
        self.recurrent = nn.Conv2d(filters, 4 * filters, kernel, padding=kernel // 2, bias=False)
        self.gate = settings.gate
        if self.input.bias is not None:  # remember at first (Jozefowicz et al. 2015)
            nn.init.zeros_(self.input.bias)
            nn.init.ones_(self.input.bias[filters : 2 * filters])

    def forward(self, input_sbchw: Tensor, state: State | None, give: frozenset[str] = frozenset({"maps"})) -> Outputs:
        """Run over all steps, behind `state`.

        Parameters
        ----------
        input_sbchw
            Fastest where each step lies in memory as (b, h, w, c).
        give
            What is wanted of every step: its hidden maps ("maps"); their maximum ("max") and mean ("mean") over the
            map, as float32.
        """
        if not len(input_sbchw):
            raise ValueError("a sequence without steps")
        kind = input_sbchw.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else input_sbchw.dtype
        stride, padding = self.input.stride[0], int(self.input.padding[0])
        filters, pixels = self.recurrent.in_channels, input_sbchw[0, :, 0].numel() // stride**2
        parts = 4 if kind == "cpu" and pixels >= LARGE and filters % VECTOR == 0 else 1
        plan = Plan(stride, padding, self.gate, dtype, torch.is_grad_enabled(), give, parts)
        hidden, cell = state or (None, None)
        with torch.autocast(kind, enabled=False):
            outputs = _Recurrence.apply(
                input_sbchw, self.input.weight, self.input.bias, self.recurrent.weight, hidden, cell, plan
            )
        return Outputs(*outputs)


class _Recurrence(torch.autograd.Function):
    """All steps of a layer, and backpropagation through them."""

    @staticmethod
    def forward(
        ctx: Any,
        input_sbchw: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        recurrent: Tensor,
        hidden: Tensor | None,
        cell: Tensor | None,
        plan: Plan,
    ) -> tuple[Tensor | None, ...]:
        weight, recurrent = _doubled(weight, plan.dtype), _doubled(recurrent, plan.dtype)
        weights, recurrents = weight.chunk(plan.parts), recurrent.chunk(plan.parts)
        biases = [None] * plan.parts if bias is None else _doubled(bias, plan.dtype).chunk(plan.parts)
        first_state = [hidden, cell]
        opened, cells, maps, maxima, means = [], [], [], [], []
        for group_sbchw in input_sbchw.split(GROUP_STEPS):
            steps_nchw = group_sbchw.flatten(0, 1).to(plan.dtype)
            driven = [
                functional.conv2d(steps_nchw, *each, plan.stride, plan.padding)
                for each in zip(weights, biases, strict=True)
            ]
            for step in _steps(driven, input_sbchw.shape[1]):
                if hidden is not None:
                    for part_bchw, part in zip(step, recurrents, strict=True):
                        part_bchw += functional.conv2d(hidden, part, padding="same")
                cell = _next_cell(step, cell, GATES[plan.gate])
                hidden = _hidden(step, _tanh(cell))
                if plan.keep:
                    cells.append(cell)
                if "maps" in plan.give:
                    maps.append(hidden)
                if "max" in plan.give:
                    maxima.append(functional.adaptive_max_pool2d(hidden, 1)[..., 0, 0])  # amax takes nine times longer
                if "mean" in plan.give:
                    means.append(hidden.mean((2, 3), dtype=torch.float32))
            if plan.keep:
                opened += driven
        maximum_sbf = torch.stack(maxima) if maxima else None
        if plan.keep:
            ctx.plan, ctx.opened, ctx.biased = plan, len(opened), bias is not None
            ctx.save_for_backward(input_sbchw, weight, recurrent, *first_state, maximum_sbf, *opened, *cells)
            ctx.set_materialize_grads(False)
        return (
            hidden,
            cell,
            torch.stack(maps) if maps else None,
            None if maximum_sbf is None else maximum_sbf.float(),
            torch.stack(means) if means else None,
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        d_hidden, d_cell, d_maps, d_maximum, d_mean = grads
        plan: Plan = ctx.plan
        input_sbchw, weight, recurrent, first_hidden, first_cell, maximum_sbf, *kept = ctx.saved_tensors
        batch, parts = input_sbchw.shape[1], plan.parts
        groups = [kept[start : start + parts] for start in range(0, ctx.opened, parts)]
        cells = kept[ctx.opened :]
        d_weight = torch.zeros_like(weight, dtype=torch.float32)
        d_bias = d_weight.new_zeros(len(weight)) if ctx.biased else None
        d_recurrent = torch.zeros_like(recurrent, dtype=torch.float32)
        kernels = [*zip(weight.chunk(parts), d_weight.chunk(parts), strict=True)]
        recurrents = [*zip(recurrent.chunk(parts), d_recurrent.chunk(parts), strict=True)]
        margins = [size // 2 for size in recurrent.shape[2:]]
        d_inputs: list[Tensor] = []
        opened = [step for group in groups for step in _steps(group, batch)]
        tanh = _tanh(cells[-1])
        for number in reversed(range(len(groups))):
            d_driven = [torch.empty_like(each) for each in groups[number]]
            for place, d_step in reversed([*enumerate(_steps(d_driven, batch))]):
                t = number * GROUP_STEPS + place
                if d_maximum is not None or d_mean is not None:
                    hidden = _hidden(opened[t], tanh)
                    pooled = _through_pools(hidden, _at(maximum_sbf, t), _at(d_maximum, t), _at(d_mean, t))
                    d_hidden = pooled if d_hidden is None else pooled.add_(d_hidden)
                if d_maps is not None:
                    d_hidden = d_maps[t] if d_hidden is None else d_hidden + d_maps[t]
                before = cells[t - 1] if t else first_cell
                d_cell = _through_cell(opened[t], tanh, before, d_hidden, d_cell, GATES[plan.gate], d_step)
                hidden = first_hidden
                if t:
                    tanh = _tanh(before)
                    hidden = _hidden(opened[t - 1], tanh)
                d_hidden = None
                if hidden is not None:
                    d_hidden = _through_convolutions(d_step, hidden, recurrents, 1, margins, through=True)
            steps_nchw = input_sbchw[number * GROUP_STEPS : (number + 1) * GROUP_STEPS].flatten(0, 1).to(plan.dtype)
            wanted = ctx.needs_input_grad[0]
            d_steps = _through_convolutions(
                d_driven, steps_nchw, kernels, plan.stride, [plan.padding] * 2, through=wanted
            )
            if d_steps is not None:
                d_inputs.append(d_steps.unflatten(0, (-1, batch)))
            if d_bias is not None:
                d_bias += torch.cat([each.sum((0, 2, 3)) for each in d_driven])
        d_input = torch.cat(d_inputs[::-1]) if d_inputs else None
        d_bias = None if d_bias is None else _double(d_bias)
        d_cell = None if first_cell is None else d_cell
        return d_input, _double(d_weight), d_bias, _double(d_recurrent), d_hidden, d_cell, None


def _steps(parts: Sequence[Tensor], batch: int) -> Iterator[tuple[Tensor, ...]]:
    """What lies step after step in each part, for one step after the other."""
    return zip(*(part.split(batch) for part in parts), strict=True)


def _gates(parts: Sequence[Tensor]) -> list[Tensor]:
    """Maps of the four gates, whether each is a part of its own or all are one."""
    return [gate for part in parts for gate in part.chunk(4 // len(parts), dim=1)]


def _at(grads_sbf: Tensor | None, t: int) -> Tensor | None:
    return None if grads_sbf is None else grads_sbf[t]


def _double(values: Tensor) -> Tensor:
    """Double what concerns the new content, in place."""
    filters = len(values) // 4
    values[2 * filters : 3 * filters] *= 2
    return values


def _doubled(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in `dtype`, channels innermost."""
    layout = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
    return _double(weight.detach().to(dtype, copy=True, memory_format=layout))


def _tanh(cell: Tensor) -> Tensor:
    return cell.mul(2).sigmoid_().mul_(2).sub_(1)


def _hidden(opened: Sequence[Tensor], tanh: Tensor) -> Tensor:
    return tanh * _gates(opened)[3]


def _next_cell(driven: Sequence[Tensor], cell: Tensor | None, gate: Gate) -> Tensor:
    """Open the gates in place; the cell forgets and takes in: f c + i (2 s - 1), where s stands for new content."""
    admit, keep, new, _ = _gates(driven)
    content = None if gate.open is torch.sigmoid_ else torch.sigmoid(new)
    for part in driven:
        gate.open(part)
    if content is not None:
        new.copy_(content)
    after = -admit if cell is None else torch.mul(keep, cell).sub_(admit)
    return after.addcmul_(admit, new, value=2)


def _through_pools(
    hidden: Tensor, maximum_bf: Tensor | None, d_maximum_bf: Tensor | None, d_mean_bf: Tensor | None
) -> Tensor:
    """Gradient of a hidden map from those of its maximum, shared by all that reach it, and of its mean."""
    rest_bf = hidden.new_zeros(hidden.shape[:2], dtype=torch.float32)
    if d_mean_bf is not None:
        rest_bf = d_mean_bf / (hidden.shape[2] * hidden.shape[3])
    rest = rest_bf.to(hidden.dtype)[..., None, None]
    if d_maximum_bf is None or maximum_bf is None:
        return torch.empty_like(hidden).copy_(rest)
    highest = hidden == maximum_bf[..., None, None]
    top = (rest_bf + d_maximum_bf / highest.sum((2, 3))).to(hidden.dtype)[..., None, None]
    return torch.where(highest, top, rest)


def _through_cell(
    opened: Sequence[Tensor],
    tanh: Tensor,
    before: Tensor | None,
    d_hidden: Tensor | None,
    d_cell: Tensor | None,
    gate: Gate,
    d_driven: Sequence[Tensor],
) -> Tensor:
    """Write the gradient of what drove a step's gates; return that of the cell before it."""
    admit, keep, new, emit = _gates(opened)
    d_admit, d_keep, d_new, d_emit = _gates(d_driven)
    d_hidden = torch.zeros_like(tanh) if d_hidden is None else d_hidden
    product = d_hidden * tanh
    gate.through(product, emit, d_emit)
    torch.mul(d_hidden, emit, out=product)
    through = aten.tanh_backward(product, tanh)
    d_cell = through if d_cell is None else through.add_(d_cell)
    torch.mul(d_cell, new, out=product).mul_(2).sub_(d_cell)  # the content is 2 s - 1
    gate.through(product, admit, d_admit)
    torch.mul(d_cell, admit, out=product).mul_(2)
    _through_sigmoid(product, new, d_new)
    if before is None:
        d_keep.zero_()
    else:
        torch.mul(d_cell, before, out=product)
        gate.through(product, keep, d_keep)
    return torch.mul(d_cell, keep)


def _through_convolutions(
    grads: Sequence[Tensor],
    values: Tensor,
    kernels: Sequence[tuple[Tensor, Tensor]],
    stride: int,
    padding: list[int],
    *,
    through: bool,
) -> Tensor | None:
    """Add to the gradient of each part's kernel; give that of what all of them were given, if it is wanted."""
    total: Tensor | None = None
    for grad, (kernel, d_kernel) in zip(grads, kernels, strict=True):
        d_values, d_added, _ = aten.convolution_backward(
            grad, values, kernel, None, [stride] * 2, padding, [1, 1], False, [0, 0], 1, [through, True, False]
        )
        d_kernel += d_added
        if through:
            total = d_values if total is None else total.add_(d_values)
    return total
