"""What the first trial of a family takes from an earlier run: settings, never weights."""

from pathlib import Path
from typing import Any

from fishray.config.sweep import Sweep
from fishray.config.trial import TrialConfig
from fishray.errors import RunError, SettingError
from fishray.runs import Run


def earlier_values(sweep: Sweep, family: str) -> dict[str, Any]:
    """Settings in a family's space, as the best trial of that family in the run of `search.warm_start` has them.

    Empty without a warm start, and for a family that the earlier run does not have.
    """
    path = sweep.search.warm_start
    best = _earlier_best(sweep, path).get(family) if path else None
    return {key: getattr(best.settings, key) for key in sweep.families[family].space} if best else {}


def check_warm_start(sweep: Sweep) -> None:
    """Refuse an earlier run that gives nothing, or a setting that does not go with this sweep's data.

    Raises
    ------
    RunError, SettingError
        Saying which run, and what to do.
    """
    path = sweep.search.warm_start
    best = _earlier_best(sweep, path) if path else {}
    if path and not best:
        families = ", ".join(f"{name} ({family.model})" for name, family in sweep.families.items())
        raise RunError(f"search.warm_start: {path} has no result of a family of this sweep: {families}; leave it out")
    look_back = sweep.data.look_back
    for name, config in best.items():
        steps = earlier_values(sweep, name).get("frames_per_step", 1)
        if steps > look_back:
            raise SettingError(
                f"search.warm_start: frames_per_step {steps} of {config.id} in {path} is above data.look_back "
                f"{look_back}; raise it: --set data.look_back={steps}"
            )


def _earlier_best(sweep: Sweep, path: Path) -> dict[str, TrialConfig]:
    """Best trial, by the earlier run's own metric, of each family that has its name and model in both."""
    run = Run.open(path)
    ranked = run.state().ranked(run.resolved()[0].search.metric)
    if not ranked:
        raise RunError(f"search.warm_start: no trial of {path} has a result yet; see: fishray status {path}")
    best: dict[str, TrialConfig] = {}
    for config in (trial.config for trial in ranked):
        family = sweep.families.get(config.family)
        if family and family.model == config.settings.model:
            best.setdefault(config.family, config)
    return best
