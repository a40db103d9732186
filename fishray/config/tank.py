"""Settings of a simulated tank."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from fishray.config.base import Settings

LEAST_BODY_PIXELS = 4


class TankSettings(Settings):
    """A tank of schooling fish whose chases are known; two tanks with equal settings are the same tank.

    Attributes
    ----------
    minutes
        Length of the recording.
    fish
        Fish in the tank; a chase needs two.
    seed
        Seed of everything that happens by chance.
    fps
        Frames per second. The fish swim the same at any rate.
    height, width
        Size of a frame [pixels]; even, as the video codec wants it.
    arena
        rectangle: the fish use the whole picture; round: the largest circle in it.
    body_lengths
        Height of the picture in body lengths of a fish: more make the tank larger and the fish smaller.
    noise
        Standard deviation of the sensor's noise [grey levels] on the fish; the background is cut to black.
    display
        How much a coming burst shows in space before it shows in the speed: the share of chases before which the
        aggressor spreads its fins. At 0 none does; at 1 all do, and no fish bluffs.
    display_s
        How long before: the mean length of a display [s], give or take a fifth or so. The longer, the more slowly fins
        spread.
    encounters
        How often two fish that are near each other begin to quarrel while the group is at peace [1/s]. Where they are
        rare, the time since the last burst does not tell when the next one comes.
    alarm
        How much more vigorously the whole group swims as a chase begins, as a share of how it swims at peace.
    """

    minutes: PositiveFloat = 8.0
    fish: int = Field(6, ge=2)
    seed: NonNegativeInt = 0
    fps: PositiveInt = 30
    height: int = Field(240, ge=48, multiple_of=2)
    width: int = Field(320, ge=48, multiple_of=2)
    arena: Literal["rectangle", "round"] = "rectangle"
    body_lengths: float = Field(8.0, ge=4)
    noise: NonNegativeFloat = 2.0
    display: float = Field(0.9, ge=0, le=1)
    display_s: PositiveFloat = 0.9
    encounters: PositiveFloat = 2.0
    alarm: NonNegativeFloat = 2.0

    @model_validator(mode="after")
    def _fish_can_turn(self) -> Self:
        """Refuse a tank narrower than two fish, or fish too small to be seen."""
        body_pixels = self.height / self.body_lengths
        if self.width < 2 * body_pixels:
            raise ValueError(
                f"width {self.width} must be at least two fish, {2 * body_pixels:.0f} pixels: they need room"
            )
        if body_pixels < LEAST_BODY_PIXELS:
            raise ValueError(
                f"body_lengths {self.body_lengths:g} leaves a fish {body_pixels:.1f} pixels of height {self.height}, "
                f"must leave {LEAST_BODY_PIXELS}: a smaller one cannot be seen to swim"
            )
        return self

    @property
    def frames(self) -> int:
        """Number of frames of the recording, at least 2: one frame has no speed."""
        return max(2, round(self.minutes * 60 * self.fps))
