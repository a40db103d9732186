"""A ConvLSTM in training and in use, against its cell as it is published, and against its convolutions alone.

The networks are the same to the last weight: one layer of 16 filters on steps of four frames, the maximum over the map,
a head. What they give and their gradients are compared before anything is measured.
"""

import json
import multiprocessing
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from measuring import Figure, Goal, Plan, Row, Work, measure
from peers import NaiveConvLstm
from tank_frames import SMALL, film
from torch import Tensor, nn
from torch.nn import functional

from fishray.config.trial import ConvLstmSettings, TrialConfig
from fishray.ingest.resizing import resize_area
from fishray.predictors.convlstm import ConvLstmNetwork
from fishray.predictors.convlstm_layer import GROUP_STEPS
from fishray.predictors.inputs import Inputs
from fishray.sequences import Sequence, Sequences
from fishray.signals.speed import frame_speed
from fishray.signals.targets import burst_labels
from fishray.training import Trainer, choose_device, take_cpus
from fishray.training.learner import Learner

FRAMES_PER_STEP, STEPS, BATCH, FILTERS = 4, 30, 4, 16
LOOK_BACK = FRAMES_PER_STEP * STEPS
QUICK_SIZE = (12, 16)
QUARTER = (30, 40)
PUBLISHED: dict[str, object] = {"channels": "frames", "readout": "max", "readout_norm": False, "filters": (FILTERS,)}
"""Of the published form what costs time; like it, with one label for each clip."""
CELL = "the naive cell"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def steps(plan: Plan) -> list[Row]:
    """Training steps of four clips at the size of the original project."""
    take_cpus(1)
    bench = Clips(QUICK_SIZE if plan.quick else SMALL)
    agreement = bench.agreement()
    works: dict[str, Work] = {"naive": bench.naive_step}
    works |= {name: bench.ours(dtype) for name, dtype in PRECISIONS.items()}
    for name, dtype in PRECISIONS.items():
        works |= {f"limit {name} {parts}": bench.convolutions(dtype, parts) for parts in (1, 4)}
    with bench.keras(plan) as keras_step:
        works |= {"keras": keras_step} if keras_step else {}
        found = measure(works, plan.rounds)
    rows = []
    for name, (naive_goal, keras_goal) in {"float32": (1.5, 1.0), "bfloat16": (2.6, 1.8)}.items():
        what = f"ConvLSTM in training, clip by clip, {name}"
        rows.append(
            Row(what, "clips/s", found[name], Goal(">=", naive_goal), found["naive"], CELL, agreement=agreement)
        )
        if "keras" in found:
            rows.append(Row(what, "clips/s", found[name], Goal(">=", keras_goal), found["keras"], "Keras's ConvLSTM2D"))
        limit = max((found[f"limit {name} {parts}"] for parts in (1, 4)), key=lambda figure: figure.median)
        rows.append(Row(what, "clips/s", found[name], Goal(">=", 0.65), limit, "its convolutions alone", is_limit=True))
    if "keras" in found:
        fair = Row(
            "the naive cell itself: is it fair?", "clips/s", found["naive"], Goal(">=", 0.6), found["keras"], "Keras"
        )
        rows.append(fair)
    return rows


def dense(plan: Plan) -> list[Row]:
    """Labels that are trained on in a second: a loss at every step of a crop, against one for each clip."""
    take_cpus(1)
    return [row for size in ([QUICK_SIZE] if plan.quick else [QUARTER, SMALL]) for row in _dense(plan, size)]


def _dense(plan: Plan, size: tuple[int, int]) -> Iterator[Row]:
    forms = {"gradients": ("gradients through the look-back", 30), "no_gradients": ("no gradients there", 45)}
    works: dict[str, Work] = {"naive": Clips(size).naive_step}
    for warm_up in forms:
        for precision in PRECISIONS:
            network = learner(size, PUBLISHED | {"warm_up": warm_up, "precision": precision, "steps_per_epoch": 1})
            works[f"{warm_up} {precision}"] = lambda network=network: network.train_epoch(1)[1]  # type: ignore[misc]
    found = measure(works, plan.rounds)
    for warm_up, (words, goal) in forms.items():
        best = max(PRECISIONS, key=lambda precision: found[f"{warm_up} {precision}"].median)
        what = f"labels of a dense ConvLSTM at {size[0]}x{size[1]}, {words}, {best}"
        yield Row(
            what, "labels/s", found[f"{warm_up} {best}"], Goal(">=", goal), found["naive"], f"{CELL}, a clip a label"
        )


def memory(plan: Plan) -> list[Row]:
    """What a dense training step of four crops adds to the memory of a process, at most."""
    size = QUICK_SIZE if plan.quick else SMALL
    networks = {"by default": {}, "16 filters, bfloat16": PUBLISHED | {"precision": "bfloat16"}}
    rows = []
    for words, settings in networks.items():
        for kept, (segment, most) in {"": (0, 1.6), ", checkpoint_steps: 6": (6, 0.5)}.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process of its own has a peak of its own
                peak_gib = pool.apply(step_gib, (size, settings | {"checkpoint_steps": segment}))
            what = f"memory of a dense ConvLSTM step, {words}{kept}"
            rows.append(Row(what, "GiB", Figure((peak_gib,)), Goal("<=", most)))
    return rows


def prediction(plan: Plan) -> list[Row]:
    """A probability for every frame of a recording."""
    take_cpus(1)
    size = QUICK_SIZE if plan.quick else QUARTER
    training_steps = 2 if plan.quick else 60
    trained = learner(size, PUBLISHED | {"steps_per_epoch": training_steps})
    trained.train_epoch(1)
    predictor, clips = trained.predictor, Clips(size)
    sequence = piece(size, LOOK_BACK + (64 if plan.quick else 1024))
    modes = {mode: predictor.predict(sequence, mode)[LOOK_BACK - 1 :] for mode in ("stateful", "clip")}
    apart = np.abs(modes["stateful"] - modes["clip"])
    found = measure(
        {
            "stateful": lambda: int(np.isfinite(predictor.predict(sequence, "stateful")).sum()),
            "clips": clips.naive_prediction,
        },
        plan.rounds,
    )
    agreement = (
        f"of a network that has trained for {training_steps} steps, the probabilities of {len(apart)} frames differ by "
        f"{np.median(apart):.4f} in the middle and {apart.max():.4f} at most; they correlate by "
        f"{np.corrcoef(*modes.values())[0, 1]:.4f}"
    )
    what = f"prediction of a ConvLSTM over a recording at {size[0]}x{size[1]}"
    return [
        Row(
            what,
            "labels/s",
            found["stateful"],
            Goal(">=", 20),
            found["clips"],
            f"{CELL}, a clip a label",
            agreement=agreement,
        )
    ]


class Clips:
    """Four clips of a tank, and networks with the same weights that learn from them."""

    def __init__(self, size: tuple[int, int]) -> None:
        frames_thw = small_frames(size, BATCH * LOOK_BACK)
        grey_bthw = torch.from_numpy(frames_thw).reshape(BATCH, LOOK_BACK, *size) / 255
        self.clips_bschw = grey_bthw.unflatten(1, (STEPS, FRAMES_PER_STEP))
        self.inputs = Inputs(torch.zeros(BATCH, LOOK_BACK), grey_bthw[:, :, None].expand(-1, -1, 2, -1, -1))
        self.label_b = torch.tensor([0.0, 1.0, 0.0, 1.0])
        torch.manual_seed(0)
        self.network = ConvLstmNetwork(ConvLstmSettings.model_validate(PUBLISHED)).train()
        self.naive = NaiveConvLstm(FRAMES_PER_STEP, FILTERS)
        layer = self.network.layers[0]
        with torch.no_grad():
            self.naive.cell.weight.copy_(torch.cat([layer.input.weight, layer.recurrent.weight], dim=1))
            self.naive.cell.bias.copy_(layer.input.bias)  # type: ignore[union-attr]
            self.naive.head.load_state_dict(self.network.head.state_dict())
        self._optimisers = {
            network: torch.optim.AdamW(network.parameters(), 1e-3) for network in (self.network, self.naive)
        }

    def agreement(self) -> str:
        """How far logits and gradients of the two are apart."""
        weights: list[list[Tensor]] = []
        logits = [self._ours(), self.naive(self.clips_bschw)]
        for network, found in zip((self.network, self.naive), logits, strict=True):
            loss = functional.binary_cross_entropy_with_logits(found, self.label_b)
            weights.append([*torch.autograd.grad(loss, [*network.parameters()])])
        (given, bias, recurrent, *head), (cell, *rest) = weights
        ours, theirs = [torch.cat([given, recurrent], dim=1), bias, *head], [cell, *rest]
        apart = max(float((one - two).norm() / two.norm()) for one, two in zip(ours, theirs, strict=True))
        logits_apart = float((logits[0] - logits[1]).detach().abs().max())
        assert max(100 * logits_apart, apart) < 1e-3, (logits_apart, apart)
        return f"logits of the two are within {logits_apart:.0e}, gradients within {apart:.0e} of their size"

    def naive_step(self) -> int:
        """One step of the cell as it is published."""
        return self._learn(self.naive, self.naive(self.clips_bschw))

    def ours(self, dtype: torch.dtype) -> Work:
        """One step of fishray's."""

        def step() -> int:
            with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
                logits_b = self._ours()
            return self._learn(self.network, logits_b)

        return step

    @torch.no_grad()
    def naive_prediction(self) -> int:
        """A probability for each clip."""
        return len(torch.sigmoid(self.naive(self.clips_bschw)))

    def convolutions(self, dtype: torch.dtype, parts: int) -> Work:
        """The convolutions that a step cannot do without, forwards and backwards, and nothing between them.

        One drives all gates, or each of four has its own; which of the two is faster is the limit.
        """
        layer, last = self.network.layers[0], torch.channels_last
        kernels, recurrents = (
            each.detach().to(dtype, memory_format=last).chunk(parts)
            for each in (layer.input.weight, layer.recurrent.weight)
        )
        steps_nchw = self.clips_bschw.transpose(0, 1).flatten(0, 1).to(dtype, memory_format=last)
        hidden = torch.rand(BATCH, FILTERS, *steps_nchw.shape[2:]).to(dtype, memory_format=last)
        groups = steps_nchw.split(GROUP_STEPS * BATCH)
        grad_nchw = functional.conv2d(groups[0], kernels[0], padding=1)
        back = torch.ops.aten.convolution_backward
        rest = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)

        def step() -> int:
            for kernel, recurrent in zip(kernels, recurrents, strict=True):
                for group_nchw in groups:
                    functional.conv2d(group_nchw, kernel, padding=1)
                    back(grad_nchw[: len(group_nchw)], group_nchw, kernel, *rest, [False, True, False])
                for _ in range(STEPS - 1):
                    functional.conv2d(hidden, recurrent, padding=1)
                    back(grad_nchw[:BATCH], hidden, recurrent, *rest, [True, True, False])
            return BATCH

        return step

    @contextmanager
    def keras(self, plan: Plan) -> Iterator[Work | None]:
        """One step of Keras's layer with the same weights, if there is a Python that has it."""
        if plan.keras is None:
            yield None
            return
        given, layer, head = plan.folder / "network.npz", self.network.layers[0], self.network.head
        kernels = {
            "kernel": layer.input.weight.permute(2, 3, 1, 0),
            "recurrent": layer.recurrent.weight.permute(2, 3, 1, 0),
            "bias": layer.input.bias,
            "head": head.weight.T,
            "head_bias": head.bias,
            "clips": self.clips_bschw.permute(0, 1, 3, 4, 2),
            "labels": self.label_b,
        }
        np.savez(given, **{name: value.detach().numpy() for name, value in kernels.items()})
        command = [plan.keras, Path(__file__).with_name("keras_peer.py"), given]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            asked, told = process.stdin, process.stdout
            assert asked is not None
            assert told is not None
            with torch.no_grad():
                np.testing.assert_allclose(json.loads(told.readline()), self._ours().numpy(), atol=1e-5)

            def step() -> int:
                print(file=asked, flush=True)
                assert told.readline()
                return BATCH

            yield step
            asked.close()

    def _ours(self) -> Tensor:
        logits_bs, _ = self.network(self.inputs, None, STEPS - 1)
        return logits_bs[:, -1]

    def _learn(self, network: nn.Module, logits_b: Tensor) -> int:
        optimiser = self._optimisers[network]
        optimiser.zero_grad(set_to_none=True)
        functional.binary_cross_entropy_with_logits(logits_b.float(), self.label_b).backward()
        optimiser.step()
        return len(logits_b)


def learner(size: tuple[int, int], settings: Mapping[str, object]) -> Learner:
    """A dense network that has not learnt yet, on frames of a tank."""
    sequence = piece(size, 2400)
    chosen = ConvLstmSettings.model_validate(settings)
    config = TrialConfig(id="convlstm-0000", family="convlstm", number=0, seed=0, settings=chosen)
    return Trainer(config, Sequences((sequence,), (sequence,)), choose_device(0)).learners[0]


def piece(size: tuple[int, int], count: int) -> Sequence:
    """The first frames of a tank, with their labels."""
    frames_thw = small_frames(size, count)
    speed = frame_speed(film(count))
    return Sequence("tank", 0, 30.0, speed, burst_labels(speed, 45), frames_thw, LOOK_BACK)


def small_frames(size: tuple[int, int], count: int):
    """The first frames of a tank at a size, shape (count, *size)."""
    return np.stack([resize_area(frame_hw, size) for frame_hw in film(count)])


def step_gib(size: tuple[int, int], settings: dict[str, object]) -> float:
    """Peak memory that one dense step adds to what its network and its frames took before [GiB]."""
    take_cpus(1)
    network = learner(size, settings | {"steps_per_epoch": 1})
    before = _status_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    network.train_epoch(1)
    return (_status_kib("VmHWM") - before) / 2**20


def _status_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
