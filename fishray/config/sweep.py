"""The sweep file: everything a run needs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from fishray.config.base import Settings
from fishray.config.space import Distribution
from fishray.config.tank import TankSettings
from fishray.config.trial import MODELS, Fraction

SPLITS = ("train", "validation", "test")
METRICS = ("validation_auc", "validation_average_precision", "validation_youden_j")


def _share_or_names(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 < value < 1:
            raise ValueError(f"a share of each recording must lie between 0 and 1, not {value}")
        return float(value)
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError("must be a share of each recording (0.6) or a list of recordings ([a, b])")


SplitPart = Annotated[Any, AfterValidator(_share_or_names)]


class Split(Settings):
    """Contiguous shares of each recording, in time order, or lists of whole recordings."""

    train: SplitPart = 0.6
    validation: SplitPart = 0.2
    test: SplitPart | None = None

    @property
    def parts(self) -> dict[str, Any]:
        """The splits that are there, in time order."""
        return {name: part for name in SPLITS if (part := getattr(self, name)) is not None}

    @property
    def by_recording(self) -> bool:
        """Whether the parts are lists of whole recordings."""
        return isinstance(self.train, tuple)

    @model_validator(mode="after")
    def _whole_and_disjoint(self) -> Self:
        parts = list(self.parts.values())
        if len({isinstance(part, tuple) for part in parts}) > 1:
            raise ValueError("mixes shares and lists of recordings; give one kind")
        if self.by_recording:
            names = [name for part in parts for name in part]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"recording {', '.join(twice)} stands in more than one place; splits must not overlap")
        elif abs(sum(parts) - 1) > 1e-9:
            raise ValueError(f"{' + '.join(self.parts)} = {sum(parts):.2f}, must be 1")
        return self


class DataSettings(Settings):
    """Which recordings, and how they are split."""

    store: Path
    recordings: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Chosen recordings; all of the store when left out."""
    simulate: TankSettings | None = None
    """Make the store from a simulated tank if it is missing."""
    split: Split = Split(test=0.2)
    look_back: Annotated[int, Field(ge=8)] = 120
    """Frames a clip-mode model sees; also what must lie behind a frame for it to be scored."""


class LabelSettings(Settings):
    """The rule of the labels (DESIGN: label y)."""

    horizon: PositiveInt | None = None
    """Look-ahead in frames; 45 when neither is given."""
    horizon_s: PositiveFloat | None = None
    """Look-ahead in seconds, for recordings of different frame rates."""
    low_fraction: Fraction = 0.1
    range_threshold: Any = 0.001
    """Least range of the speed within the horizon; auto: taken from the train split."""

    @model_validator(mode="after")
    def _one_horizon(self) -> Self:
        if self.horizon is not None and self.horizon_s is not None:
            raise ValueError("give horizon (frames) or horizon_s (seconds), not both")
        threshold = self.range_threshold
        number = isinstance(threshold, int | float) and not isinstance(threshold, bool) and threshold > 0
        if threshold != "auto" and not number:
            raise _faults([_fault(("range_threshold",), "must be auto or a speed above 0")])
        return self

    def horizon_frames(self, fps: float) -> int:
        """Look-ahead in frames at a frame rate [1/s]."""
        if self.horizon_s is not None:
            return max(1, round(self.horizon_s * fps))
        return 45 if self.horizon is None else self.horizon


class Resources(Settings):
    """What one trial gets."""

    cpus: PositiveInt = 1
    gpus: Any = "auto"
    """A number of GPUs or a share of one; auto: a quarter of a GPU where there is one, else none."""

    @model_validator(mode="after")
    def _gpus(self) -> Self:
        number = isinstance(self.gpus, int | float) and not isinstance(self.gpus, bool) and self.gpus >= 0
        if self.gpus != "auto" and not (number and (self.gpus <= 1 or self.gpus == int(self.gpus))):
            raise _faults([_fault(("gpus",), "must be auto, a share between 0 and 1, or a whole number")])
        return self


class Family(Settings):
    """The trials of one model kind."""

    model: str
    trials: PositiveInt
    space: dict[str, Distribution] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _every_setting_is_usable(self) -> Self:
        if faults := list(self._setting_faults()):
            raise _faults(faults)
        return self

    def _setting_faults(self) -> Iterator[InitErrorDetails]:
        if self.model not in MODELS:
            yield _fault(("model",), "unknown model", allowed=list(MODELS), got=self.model)
            return
        candidates = [("fixed", key, value) for key, value in self.fixed.items()]
        candidates += [("space", key, value) for key, drawn in self.space.items() for value in drawn.extremes]
        seen: set[tuple[str, str]] = set()
        for block, key, value in candidates:
            if (block, key) in seen:
                continue
            if fault := self._value_fault(block, key, value):
                seen.add((block, key))
                yield fault
        for key in self.fixed.keys() & self.space.keys():
            yield _fault(("fixed", key), "stands in space as well; keep one")

    def _value_fault(self, block: str, key: str, value: Any) -> InitErrorDetails | None:
        settings = MODELS[self.model]
        allowed = [name for name in settings.model_fields if name != "model"]
        if key not in allowed:
            return _fault((block, key), "unknown setting", allowed=allowed, got=key)
        try:
            settings.model_validate_json(json.dumps({key: value}))
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            return _fault((block, key), f"{value!r}: {message[0].lower()}{message[1:]}")
        return None


class SearchSettings(Settings):
    """How trials are drawn and stopped."""

    searcher: Literal["random"] = "random"
    scheduler: Literal["asha", "none"] = "asha"
    max_epochs: PositiveInt = 9
    grace_epochs: PositiveInt = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    metric: Literal["validation_auc", "validation_average_precision", "validation_youden_j"] = "validation_auc"

    @model_validator(mode="after")
    def _grace_within_max(self) -> Self:
        if self.grace_epochs > self.max_epochs:
            raise _faults([_fault(("grace_epochs",), f"{self.grace_epochs} is above max_epochs {self.max_epochs}")])
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
    block_frames: PositiveInt = 300
    """Block of the circular block bootstrap; labels of the original recording are uncorrelated beyond 20 frames."""
    resamples: Annotated[int, Field(ge=100)] = 2000


class Sweep(Settings):
    """A whole search, resolved."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    seed: NonNegativeInt = 0
    data: DataSettings
    labels: LabelSettings = LabelSettings()
    families: Annotated[dict[str, Family], Field(min_length=1)]
    search: SearchSettings = SearchSettings()
    report: ReportSettings = ReportSettings()


def _fault(
    loc: tuple[str, ...], message: str, allowed: list[str] | None = None, got: str | None = None
) -> InitErrorDetails:
    context = {"allowed": allowed, "got": got} if allowed else {}
    error = PydanticCustomError("fishray", message.replace("{", "(").replace("}", ")"), context)
    return InitErrorDetails(type=error, loc=loc, input=got)


def _faults(details: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("sweep", details)
