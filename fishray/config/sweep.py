"""The sweep file: everything a run needs."""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError

from fishray.config.base import Settings, is_number
from fishray.config.data import DataSettings
from fishray.config.space import Distribution
from fishray.config.trackers import TrackerSettings
from fishray.config.trial import MODELS, Fraction
from hpc.settings import ClusterSettings

METRICS = ("validation_auc", "validation_average_precision", "validation_youden_j")


RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _run_name(name: str) -> str:
    if not RUN_NAME.fullmatch(name):
        raise ValueError(f"{name!r}: must be letters, digits, _, . and -, and begin with a letter or a digit")
    return name


def _auto_or_speed(value: Any) -> Any:
    if value == "auto" or (is_number(value) and value > 0):
        return value
    raise ValueError(f"{value!r}: must be auto or a speed above 0")


def _auto_or_gpus(value: Any) -> Any:
    if value == "auto" or (is_number(value) and (0 <= value <= 1 or (value > 1 and value == int(value)))):
        return value
    raise ValueError(f"{value!r}: must be auto, a share between 0 and 1, or a whole number")


class LabelSettings(Settings):
    """The rule of the labels (DESIGN: label y)."""

    horizon: PositiveInt | None = None
    """Look-ahead in frames; 45 when neither is given."""
    horizon_s: PositiveFloat | None = None
    """Look-ahead in seconds, for recordings of different frame rates."""
    low_fraction: Fraction = 0.1
    range_threshold: Annotated[Any, AfterValidator(_auto_or_speed)] = 0.001
    """Least range of the speed within the horizon; auto: taken from the train split."""

    @model_validator(mode="after")
    def _one_horizon(self) -> Self:
        if self.horizon is not None and self.horizon_s is not None:
            raise ValueError("give horizon (frames) or horizon_s (seconds), not both")
        return self

    def horizon_frames(self, fps: float) -> int:
        """Look-ahead in frames at a frame rate [1/s]."""
        if self.horizon_s is not None:
            return max(1, round(self.horizon_s * fps))
        return 45 if self.horizon is None else self.horizon


class Resources(Settings):
    """What one trial gets."""

    cpus: PositiveInt = 1
    gpus: Annotated[Any, AfterValidator(_auto_or_gpus)] = "auto"
    """A number of GPUs or a share of one; auto: a quarter of a GPU where there is one, else none."""
    retries: NonNegativeInt = 3
    """How often a trial is tried again, from its last epoch, after its process has died."""


class Family(Settings):
    """The trials of one model kind."""

    model: str
    trials: PositiveInt
    space: dict[str, Distribution] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Resources()

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        if model not in MODELS:
            raise PydanticCustomError("fishray", "unknown model", {"allowed": list(MODELS), "got": model})
        return model

    @field_validator("space", mode="wrap")  # in place of pydantic's own, which would stop at the first unknown name
    @classmethod
    def _usable_space(cls, space: Any, _: Any, info: ValidationInfo) -> dict[str, Distribution]:
        model = info.data.get("model")

        def check(key: str, drawn: Any) -> Distribution:
            _check_name(model, key)
            distribution = _distribution(drawn)
            for value in distribution.extremes:
                _check_value(model, key, value)
            return distribution

        return _each(space, check)

    @field_validator("fixed", mode="wrap")
    @classmethod
    def _usable_fixed(cls, fixed: Any, _: Any, info: ValidationInfo) -> dict[str, Any]:
        model, space = info.data.get("model"), info.data.get("space", {})

        def check(key: str, value: Any) -> Any:
            _check_name(model, key)
            if key in space:
                raise PydanticCustomError("fishray", "stands in space as well; keep one")
            _check_value(model, key, value)
            return value

        return _each(fixed, check)

    def greatest(self, key: str) -> Any:
        """Greatest value that a numeric setting can take in this family."""
        if key in self.space:
            return max(self.space[key].extremes)
        return self.fixed.get(key, MODELS[self.model].model_fields[key].default)

    def grid_levels(self) -> dict[str, int]:
        """How many values each setting of the space has in a grid, in order of name; 0: not countable."""
        return {
            key: len(space.choice) if space.choice else space.randint[1] - space.randint[0] + 1 if space.randint else 0
            for key, space in sorted(self.space.items())
        }


class SearchSettings(Settings):
    """How trials are drawn and stopped."""

    searcher: Literal["random", "grid", "tpe"] = "random"
    """random: every trial on its own; grid: combinations of the listed values, none twice, in random order; tpe: after
    ten random trials of a family, each by the results of those before it (pip install "fishray[optuna]")."""
    scheduler: Literal["asha", "median", "pbt", "none"] = "asha"
    max_epochs: PositiveInt = 9
    grace_epochs: PositiveInt = 1
    """Epochs before a trial can be stopped; pbt: epochs between exchanges."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """asha: one of this many trials goes on at a rung."""
    warm_start: Path | None = None
    """An earlier run: the first trial of each family takes, for the settings in its space, the values of that run's
    best trial of that family, even beyond the space's bounds. Weights are never taken over: the earlier run may have
    trained on frames that are validation or test here."""
    metric: Literal["validation_auc", "validation_average_precision", "validation_youden_j"] = "validation_auc"

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        faults = []
        if self.grace_epochs > self.max_epochs:
            faults.append(_fault(("grace_epochs",), f"{self.grace_epochs} is above max_epochs {self.max_epochs}"))
        if self.searcher == "tpe" and self.scheduler == "pbt":
            remedy = "tpe draws one trial after another, pbt needs them all at the start; use searcher: random"
            faults.append(_fault(("searcher",), remedy))
        if faults:
            raise _faults(faults)
        return self

    @property
    def rungs(self) -> list[int]:
        """Epochs at which trials are compared, and the last epoch (Li et al. 2020)."""
        rungs = []
        epoch = self.grace_epochs
        while epoch < self.max_epochs and self.scheduler == "asha":
            rungs.append(epoch)
            epoch *= self.reduction_factor
        return [*rungs, self.max_epochs]


class ReportSettings(Settings):
    """What is scored on the test split, and how its intervals are made."""

    leaders: PositiveInt = 3
    """Best trials by validation that are scored on the test split; the best of each family always is."""
    block_frames: PositiveInt | None = None
    """Block of the circular block bootstrap; 300 frames or four horizons, whichever is longer, when left out. Labels of
    the original recording are uncorrelated beyond 20 frames at a horizon of 45."""
    resamples: Annotated[int, Field(ge=100)] = 2000


class Sweep(Settings):
    """A whole search, resolved."""

    name: Annotated[str, AfterValidator(_run_name)]
    seed: NonNegativeInt = 0
    data: DataSettings
    labels: LabelSettings = LabelSettings()
    families: Annotated[dict[str, Family], Field(min_length=1)]
    search: SearchSettings = SearchSettings()
    report: ReportSettings = ReportSettings()
    trackers: TrackerSettings = TrackerSettings()
    cluster: ClusterSettings | None = None
    """Workers on Slurm; this machine alone when left out."""
    access: Literal["owner", "group"] = "owner"
    """Who may read its run besides writing it: nobody else, or the run directory's group."""

    @model_validator(mode="after")
    def _families_can_be_run(self) -> Self:
        if faults := [*self._steps_above_the_look_back(), *self._trials_beyond_the_grid()]:
            raise _faults(faults)
        return self

    def _steps_above_the_look_back(self) -> Iterator[InitErrorDetails]:
        look_back = self.data.look_back
        for name, family in self.families.items():
            if (greatest := family.greatest("frames_per_step")) > look_back:
                place = "space" if "frames_per_step" in family.space else "fixed"
                message = f"{greatest} is above data.look_back {look_back}"
                yield _fault(("families", name, place, "frames_per_step"), message)

    def _trials_beyond_the_grid(self) -> Iterator[InitErrorDetails]:
        for name, family in self.families.items() if self.search.searcher == "grid" else ():
            levels = family.grid_levels()
            for key in [key for key, count in levels.items() if not count]:
                kind = "loguniform" if family.space[key].loguniform else "uniform"
                message = f"{kind} has no grid; list the values: {{choice: [...]}}"
                yield _fault(("families", name, "space", key), message)
            points = math.prod(levels.values())
            if 0 < points < family.trials:
                message = f"{family.trials} is above the grid's {points} point{'s' if points > 1 else ''}"
                yield _fault(("families", name, "trials"), message)


def plain_words(message: str) -> str:
    """What pydantic says of a value, to be put behind it."""
    said = message.removeprefix("Value error, ")  # before what our own validators raise
    return said.replace("Input should be", "must be").replace("Input should", "must")


def _check_name(model: str | None, key: str) -> None:
    """Refuse a setting that the model does not have; an unknown model is a fault of its own."""
    if model is None:
        return
    allowed = [name for name in MODELS[model].model_fields if name != "model"]
    if key not in allowed:
        raise PydanticCustomError("fishray", "unknown setting", {"allowed": allowed, "got": key})


def _check_value(model: str | None, key: str, value: Any) -> None:
    """Refuse a value that the model's setting cannot have."""
    if model is None:
        return
    try:
        MODELS[model].model_validate_json(json.dumps({key: value}))
    except ValidationError as error:
        raise _message(f"{value!r}: {plain_words(error.errors()[0]['msg'])}") from error


def _distribution(drawn: Any) -> Distribution:
    if isinstance(drawn, Distribution):
        return drawn
    if not isinstance(drawn, dict):
        raise _message(f"{drawn!r}: must be a distribution ({{choice: [...]}}); a single value belongs in fixed")
    return Distribution.model_validate_json(json.dumps(drawn))


def _each(entries: Any, check: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Check every entry of a mapping, so that one fault hides no other."""
    if not isinstance(entries, dict):
        raise PydanticKnownError("dict_type")
    checked: dict[str, Any] = {}
    faults: list[InitErrorDetails] = []
    for key, value in entries.items():
        try:
            checked[key] = check(key, value)
        except PydanticCustomError as error:
            faults.append(InitErrorDetails(type=error, loc=(key,), input=value))
        except ValidationError as error:
            faults += [
                InitErrorDetails(
                    type=details["type"], loc=(key, *details["loc"]), input=details["input"], ctx=details.get("ctx", {})
                )
                for details in error.errors()
            ]
    if faults:
        raise _faults(faults)
    return checked


def _message(message: str) -> PydanticCustomError:
    return PydanticCustomError("fishray", message)


def _fault(loc: tuple[str, ...], message: str) -> InitErrorDetails:
    return InitErrorDetails(type=_message(message), loc=loc, input=None)


def _faults(details: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("sweep", details)
