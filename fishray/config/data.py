"""Which recordings a sweep reads, and how they are split."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from fishray.config.base import Settings, is_number
from fishray.config.tank import TankSettings

SPLITS = ("train", "validation", "test")


def _path_or_paths(value: Any) -> Any:
    paths = value if isinstance(value, list | tuple) else [value]
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise ValueError(f"{value!r}: must be a store (tank.zarr) or a list of stores ([a.zarr, b.zarr])")
    stores = [Path(path) for path in paths]
    if twice := sorted({str(path) for path in stores if stores.count(path) > 1}):
        raise ValueError(f"{', '.join(twice)} stands twice")
    return stores[0] if len(stores) == 1 else tuple(stores)


def _names(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{value!r}: must be a list of recordings ([a, day1_*])")
    return tuple(value)


def _share_or_names(value: Any) -> Any:
    if not is_number(value):
        try:
            return _names(value)
        except ValueError:
            raise ValueError("must be a share of each recording (0.6) or a list of recordings ([a, b])") from None
    if not 0 < value < 1:
        raise ValueError(f"a share of each recording must lie between 0 and 1, not {value}")
    return float(value)


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


class Folds(Settings):
    """Cross-validation: whole recordings are validation in turn, and those of the other folds are train."""

    by: Literal["recording"] = "recording"
    folds: Annotated[int, Field(ge=2)] = 5
    """Groups of recordings, in their order; a trial trains a network for each, and its score is their mean."""
    test: Annotated[Any, AfterValidator(_names)] | None = None
    """Recordings that are in no fold."""

    @model_validator(mode="before")
    @classmethod
    def _makes_the_other_parts(cls, data: Any) -> Any:
        given = [name for name in ("train", "validation") if isinstance(data, dict) and name in data]
        if given:
            raise ValueError(
                f"folds make train and validation themselves, from every recording that is not in test; leave out "
                f"{' and '.join(given)}"
            )
        return data


def _kind_of_split(split: Any) -> str:
    is_folds = isinstance(split, Folds) or (isinstance(split, dict) and not split.keys().isdisjoint({"by", "folds"}))
    return "cut into folds" if is_folds else "cut into parts"  # no key of either: errors name the place by these too


AnySplit = Annotated[
    Annotated[Split, Tag("cut into parts")] | Annotated[Folds, Tag("cut into folds")],
    Discriminator(_kind_of_split),
]


class DataSettings(Settings):
    """Which recordings, and how they are split."""

    store: Annotated[Any, AfterValidator(_path_or_paths)]
    """A store, or a list of several that are read as one."""
    recordings: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Chosen recordings, by name or pattern (day1_*); all of the stores when left out."""
    simulate: TankSettings | None = None
    """Make the store from a simulated tank if it is missing."""
    split: AnySplit = Split(test=0.2)
    look_back: Annotated[int, Field(ge=8)] = 120
    """Frames a clip-mode model sees, at any frame rate; also what must lie behind a frame for it to be scored."""

    @property
    def stores(self) -> tuple[Path, ...]:
        """Every store."""
        return self.store if isinstance(self.store, tuple) else (self.store,)

    @model_validator(mode="after")
    def _one_store_is_simulated(self) -> Self:
        if self.simulate and len(self.stores) > 1:
            raise ValueError("simulate makes one store, and there are several; give one, or leave simulate out")
        return self
