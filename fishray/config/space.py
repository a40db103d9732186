"""Distributions from which a family draws its settings."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from fishray.config.base import Settings

Bounds = tuple[float, float]

FEW = 64


class Distribution(Settings):
    """One of ``{uniform: [a, b]}``, ``{loguniform: [a, b]}``, ``{randint: [a, b]}`` (b too), ``{choice: [...]}``."""

    uniform: Bounds | None = None
    loguniform: Bounds | None = None
    randint: tuple[int, int] | None = None
    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        kinds = (self.uniform, self.loguniform, self.randint, self.choice)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("must have exactly one of uniform, loguniform, randint, choice")
        bounds = self.uniform or self.loguniform or self.randint
        if bounds and bounds[0] >= bounds[1]:
            raise ValueError(f"lower bound {bounds[0]} is not below upper bound {bounds[1]}")
        if self.loguniform and self.loguniform[0] <= 0:
            raise ValueError(f"a loguniform needs a lower bound above 0, not {self.loguniform[0]}")
        return self

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values whose validity decides that of every value it can draw: all where they are few, else both bounds."""
        if self.randint and self.randint[1] - self.randint[0] < FEW:
            return tuple(range(self.randint[0], self.randint[1] + 1))
        return self.choice or self.uniform or self.loguniform or self.randint or ()
