"""One trial in this process, without Ray: for debugging, and to see a network learn a few clips by heart."""

import secrets
from collections.abc import Callable
from collections.abc import Sequence as Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError

from fishray.config.loader import nearest, parse_override
from fishray.config.sweep import Family, Sweep
from fishray.config.trial import MODELS, TrialConfig
from fishray.errors import SettingError
from fishray.sequences import Sequences
from fishray.sequences.cache import FrameCache
from fishray.sequences.recordings import find_recordings
from fishray.sequences.splits import load_sequences
from fishray.training import Report, Score, Trainer, choose_device, fit, take_cpus
from fishray.tuning.node import gpu_share, this_node
from fishray.tuning.space import draw_trial

Result = TypeVar("Result")


def choose_trial(sweep: Sweep, family: str, number: int | None, overrides: Collection[str]) -> TrialConfig:
    """A trial of a family with some settings replaced.

    Parameters
    ----------
    number
        Trial whose drawn settings to take; None takes the model's defaults and the family's fixed settings.
    overrides
        ``key=value`` settings of the trial.

    Raises
    ------
    SettingError
        For an unknown family or setting, or an impossible value.
    """
    if family not in sweep.families:
        raise SettingError(f"--family {family}: the sweep has {', '.join(sweep.families)}")
    chosen = sweep.families[family]
    changes = dict(parse_override(override) for override in overrides)
    _refuse_unknown(chosen, changes)
    if number is None:
        chosen = chosen.model_copy(update={"space": {}})
    chosen = chosen.model_copy(update={
        "space": {key: value for key, value in chosen.space.items() if key not in changes},
        "fixed": {**chosen.fixed, **changes},
    })  # fmt: skip
    try:
        checked = Family.model_validate_json(chosen.model_dump_json(exclude_none=True, exclude_defaults=True))
    except ValidationError as error:
        fault = error.errors()[0]
        raise SettingError(f"--set {fault['loc'][-1]}={fault['input']}: {fault['msg']}") from error
    return draw_trial(sweep.seed, family, checked, number or 0)


def train_one(sweep: Sweep, config: TrialConfig, report: Report, out: Path) -> Score:
    """Train one trial to its last epoch; `out` gets the predictor of the best one."""
    device = _granted(sweep, config)
    search = sweep.search
    return with_data(
        sweep, config, lambda data: fit(config, data, out, report, device, search.max_epochs, search.metric)
    )


def overfit_one(sweep: Sweep, config: TrialConfig, clips: int, report: Callable[[int, float, float], None]) -> float:
    """Learn a few clips by heart; returns the training AUC. Nothing that hinders that stays on."""
    plain = {"augment": "none", "dropout": 0.0, "weight_decay": 0.0, "class_weight": 0.0}
    config = config.model_copy(update={"settings": config.settings.model_copy(update=plain)})
    device = _granted(sweep, config)
    return with_data(sweep, config, lambda data: Trainer(config, data.folds[0], device).overfit(clips, report))


def with_data(sweep: Sweep, config: TrialConfig, use: Callable[[Sequences], Result]) -> Result:
    """Give a trial's splits to a function, with frames where its model reads them; they are held until it returns."""
    reads_frames = config.settings.model == "convlstm"
    cache = FrameCache(f"train-{secrets.token_hex(4)}") if reads_frames else None
    with cache or nullcontext():
        read = cache.frames if cache else None
        return use(load_sequences(find_recordings(sweep.data), sweep.data, sweep.labels, read))


def _granted(sweep: Sweep, config: TrialConfig) -> torch.device:
    """Take what a trial of this family would get in a sweep: its threads and its device."""
    resources = sweep.families[config.family].resources
    take_cpus(resources.cpus)
    return choose_device(gpu_share(resources, len(this_node().gpu_names)))


def _refuse_unknown(family: Family, changes: dict[str, Any]) -> None:
    allowed = [name for name in MODELS[family.model].model_fields if name != "model"]
    for key in changes:
        if key not in allowed:
            close = nearest(key, allowed)
            hint = f"did you mean {close}?" if close else f"one of {', '.join(allowed)}"
            raise SettingError(f"--set {key}: unknown setting of {family.model}; {hint}")
