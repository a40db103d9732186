"""Settings of a simulated tank."""

from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from fishray.config.base import Settings


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
    noise
        Standard deviation of the sensor's noise [grey levels] on the fish; the background is cut to black.
    display
        How much a coming burst shows in space before it shows in the speed: the share of chases before which the
        aggressor spreads its fins. At 0 none does; at 1 all do, and no fish bluffs.
    """

    minutes: PositiveFloat = 8.0
    fish: int = Field(6, ge=2)
    seed: NonNegativeInt = 0
    fps: PositiveInt = 30
    height: int = Field(240, ge=48, multiple_of=2)
    width: int = Field(320, ge=48, multiple_of=2)
    noise: NonNegativeFloat = 2.0
    display: float = Field(0.8, ge=0, le=1)

    @model_validator(mode="after")
    def _fish_can_turn(self) -> Self:
        """Refuse a tank narrower than two fish; a fish is an eighth of the height long."""
        if 4 * self.width < self.height:
            raise ValueError(f"width {self.width} must be at least a quarter of height {self.height}: fish need room")
        return self

    @property
    def frames(self) -> int:
        """Number of frames of the recording, at least 2: one frame has no speed."""
        return max(2, round(self.minutes * 60 * self.fps))
