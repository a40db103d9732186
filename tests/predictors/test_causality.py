"""The one rule about time, for every predictor there is: nothing sees beyond frame i, that is, beyond ỹ_{i-1}."""

import importlib
import inspect
import pkgutil
from typing import get_args

import numpy as np
import pytest
import torch

import fishray.predictors
from fishray.config.trial import MODELS, ConvLstmSettings, LstmSettings, TrialConfig
from fishray.predictors import network as network_module
from fishray.predictors.base import Predictor
from fishray.predictors.baselines import BASELINES
from fishray.predictors.folded import FoldedPredictor
from fishray.predictors.network import NetworkPredictor, normalise_by
from fishray.sequences import Sequence
from fishray.signals.speed import frame_speed
from fishray.signals.targets import burst_labels

FRAMES, HEIGHT, WIDTH = 120, 12, 16
LOOK_BACK = 24
MOMENTS = (LOOK_BACK - 1, 50, 63, 64, 109)
"""First frame judged; then in mid-step, at the last frame of a step and of a chunk, behind it, and near the end."""


def convlstm(**settings):
    small = {"filters": (2,), "judged_frames": 20} | settings
    return ConvLstmSettings(**small)


CASES = {
    "lstm": {
        **{cell: LstmSettings(cell=cell, hidden=4, judged_frames=20) for cell in ("lstm", "gru")},
        "two layers, steps of 5": LstmSettings(hidden=4, layers=2, frames_per_step=5, judged_frames=20),
        "clip": LstmSettings(hidden=4, mode="clip"),
    },
    "convlstm": {
        **{
            f"{channels}{', speed' if fuse else ''}": convlstm(channels=channels, fuse_speed=fuse)
            for channels in get_args(ConvLstmSettings.model_fields["channels"].annotation)
            for fuse in (False, True)
        },
        "two layers": convlstm(filters=(2, 3), batch_norm=True),
        "two layers, everything else": convlstm(
            filters=(2, 3), padding="valid", pool=False, input_stride=2, gate="hard_sigmoid",
            readout="mean", readout_norm=False, fuse_speed=True, frames_per_step=1,
        ),
        "steps of 5": convlstm(frames_per_step=5, downsample=3),
        "memory": convlstm(memory=3, fuse_speed=True),
        "published": ConvLstmSettings.published().model_copy(update={"filters": (3,)}),
    },
}  # fmt: skip
"""By model; a model without a case fails `test_every_predictor_is_judged_here`."""


def still_life(seed, frames=FRAMES):
    """Frames in which a few pixels change, now more of them and now fewer: speeds like those of fish."""
    rng = np.random.default_rng(seed)
    frames_thw = np.empty((frames, HEIGHT, WIDTH), np.uint8)
    frames_thw[0] = rng.integers(0, 200, (HEIGHT, WIDTH))
    for t in range(1, frames):
        frames_thw[t] = frames_thw[t - 1]
        count = int(rng.integers(0, 7) * (1 + np.sin(t / 9)))
        frames_thw[t].ravel()[rng.integers(0, HEIGHT * WIDTH, count)] += np.uint8(rng.integers(5, 40))
    return frames_thw


def seen(frames_thw, look_back=LOOK_BACK):
    """Everything that anyone may look at, computed from raw frames."""
    speed = frame_speed(frames_thw)
    label = burst_labels(speed, 10, range_threshold=0.0005)
    return Sequence("tank", 0, 30.0, speed, label, frames_thw, look_back)


TRAIN = seen(still_life(0))


def network_predictor(settings, seed=0):
    torch.manual_seed(seed)
    config = TrialConfig(id="trial", family=settings.model, number=0, seed=0, settings=settings)
    predictor = NetworkPredictor(config, LOOK_BACK, ((HEIGHT, WIDTH),))
    normalise_by(predictor.network, [TRAIN], [predictor.inputs(TRAIN)])
    return predictor


def folded_predictor(settings):
    return FoldedPredictor([network_predictor(settings, seed) for seed in range(3)])


def predictors():
    """Every registered predictor."""
    for name, make in BASELINES.items():
        yield pytest.param(make, id=name)
    for model, cases in CASES.items():
        for name, settings in cases.items():
            yield pytest.param(lambda _, settings=settings: network_predictor(settings), id=f"{model}: {name}")
        settings = next(iter(cases.values()))
        yield pytest.param(lambda _, settings=settings: folded_predictor(settings), id=f"{model}: folds")


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """Let the stateful pass cross borders of chunks: behind frame 63 for steps of 4, and every 16 frames for one."""
    monkeypatch.setattr(network_module, "CHUNK_STEPS", 16)


@pytest.fixture(params=predictors())
def predictor(request):
    return request.param([TRAIN])


def test_every_predictor_is_judged_here():
    for module in pkgutil.walk_packages(fishray.predictors.__path__, "fishray.predictors."):
        importlib.import_module(module.name)
    kinds = {kind for kind in subclasses(Predictor) if not inspect.isabstract(kind)}
    judged = {type(make([TRAIN])) for make in BASELINES.values()} | {NetworkPredictor, FoldedPredictor}
    assert {kind for kind in kinds if kind.__module__.startswith("fishray")} == judged
    assert set(CASES) == set(MODELS)
    for model, cases in CASES.items():
        assert {type(settings) for settings in cases.values()} == {MODELS[model]}


def subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_no_output_moves_with_what_comes_after(predictor):
    frames_thw, others_thw = still_life(1), still_life(2)
    for mode in predictor.modes:
        before = predictor.predict(seen(frames_thw), mode)
        assert np.isfinite(before[predictor.reads.look_back - 1 :]).all()
        for i in MOMENTS:
            changed_thw = frames_thw.copy()
            changed_thw[i + 1 :] = others_thw[i + 1 :]
            changed = seen(changed_thw)
            assert changed.speed[i] != seen(frames_thw).speed[i]
            after = predictor.predict(changed, mode)
            np.testing.assert_array_equal(before[: i + 1], after[: i + 1], err_msg=f"{mode}, frame {i}")
            assert (before[i + 1 :] != after[i + 1 :]).any(), f"{mode} ignores what comes after frame {i}"


def test_a_clip_is_judged_by_its_last_look_back_frames_alone(predictor):
    mode = "clip" if "clip" in predictor.modes else None
    frames_thw, i = still_life(1), 110
    first = i - predictor.reads.look_back + 1
    before = predictor.predict(seen(frames_thw), mode)
    earlier_thw, inside_thw = frames_thw.copy(), frames_thw.copy()
    earlier_thw[:first] = still_life(2)[:first]
    inside_thw[i] += np.uint8(9)  # all of it
    assert predictor.predict(seen(earlier_thw), mode)[i] == before[i]
    assert predictor.predict(seen(inside_thw), mode)[i] != before[i]


def test_labels_are_not_looked_at(predictor):
    sequence = seen(still_life(1))
    others = seen(still_life(1))
    others.label[:] = 1 - others.label.clip(0)
    for mode in predictor.modes:
        np.testing.assert_array_equal(predictor.predict(sequence, mode), predictor.predict(others, mode))
