"""How a tank looks to the camera: bright bodies that taper to the tail, on a background cut to black."""

import numpy as np
from numpy.typing import NDArray

from fishray.config.tank import TankSettings
from fishray.simulate.behaviour import Tank

Pixels = NDArray[np.float32]

HALF_WIDTH = 0.095  # of the body at its widest [body lengths]
BRIGHTNESS = 210.0  # of the body at its brightest [grey levels]
FIN_WIDTH = 2.2  # what spread fins add to the width, as a share of it
FIN_BRIGHTNESS = 0.2  # what they add to the brightness, as a share of it

# Along the body, from the head (0) to the tip of the tail (1), as in the original recordings.
_PLACES = np.linspace(0, 1, 64, dtype=np.float32)
_WIDTH: Pixels = ((1 - np.exp(-14 * _PLACES)) * (1 - _PLACES) ** 0.8).astype(np.float32)
_SHADE: Pixels = np.clip(1.25 - _PLACES, 0, 1).astype(np.float32)
_FINS: Pixels = np.exp(-(((_PLACES - 0.45) / 0.3) ** 2)).astype(np.float32)


class Camera:
    """Draws a tank, each fish on a small patch of its own.

    The noise of the sensor has a generator of its own, so that it changes no behaviour.
    """

    def __init__(self, settings: TankSettings) -> None:
        self._rng = np.random.default_rng((settings.seed, 1))
        self._body_px = settings.height / settings.body_lengths
        self._radius = int(np.ceil(0.6 * self._body_px)) + 1
        grain = 4 * settings.fish * (2 * self._radius + 1) ** 2
        self._grain = np.float32(settings.noise) * self._rng.standard_normal(grain, dtype=np.float32)
        self._shape = (settings.height, settings.width)
        offsets = np.arange(-self._radius, self._radius + 1, dtype=np.float32)
        self._y_hw, self._x_hw = offsets[:, None], offsets[None, :]

    def draw(self, tank: Tank) -> NDArray[np.uint8]:
        """One frame of the tank.

        Returns
        -------
        shape (H, W)
            Grey levels, 0 to 255.
        """
        radius, (height, width) = self._radius, self._shape
        centre_n2 = tank.position_n2 * self._body_px
        corner_n2 = np.floor(centre_n2).astype(int)
        fish_nhw = self._bodies(centre_n2 - corner_n2, tank)
        canvas_hw = np.zeros((height + 2 * radius, width + 2 * radius), np.uint8)
        for (x, y), fish_hw in zip(corner_n2, fish_nhw, strict=True):
            patch_hw = canvas_hw[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            np.maximum(patch_hw, fish_hw, out=patch_hw)
        return canvas_hw[radius:-radius, radius:-radius]

    def _bodies(self, shift_n2: NDArray[np.float64], tank: Tank) -> NDArray[np.uint8]:
        """Patches (N, h, w) around the fish; `shift_n2` is where in the middle pixel each fish is [pixels]."""

        def per_fish(values_n: NDArray[np.float64]) -> Pixels:
            return values_n.astype(np.float32)[:, None, None]

        cos, sin = per_fish(np.cos(tank.heading_n)), per_fish(np.sin(tank.heading_n))
        bend, fins = per_fish(tank.bend_n * self._body_px), per_fish(tank.fins_n)
        x_nhw = self._x_hw - per_fish(shift_n2[:, 0])
        y_nhw = self._y_hw - per_fish(shift_n2[:, 1])
        place_nhw = np.float32(0.5) - (x_nhw * cos + y_nhw * sin) / np.float32(self._body_px)  # 0 head, 1 tail tip
        across_nhw = y_nhw * cos - x_nhw * sin - bend * np.square(place_nhw)
        place_nhw *= len(_PLACES) - 1
        inside_nhw = (place_nhw >= 0) & (place_nhw <= len(_PLACES) - 1)
        index_nhw = np.clip(place_nhw, 0, len(_PLACES) - 1).astype(np.intp)
        spread_nhw = fins * _FINS[index_nhw]
        half_width_nhw = _WIDTH[index_nhw] * (1 + np.float32(FIN_WIDTH) * spread_nhw)
        half_width_nhw *= np.float32(HALF_WIDTH * self._body_px)
        soft_nhw = np.clip(half_width_nhw - np.abs(across_nhw) + np.float32(0.5), 0, 1) * inside_nhw
        grey_nhw: Pixels = _SHADE[index_nhw] * (1 + np.float32(FIN_BRIGHTNESS) * spread_nhw) * np.float32(BRIGHTNESS)
        start = self._rng.integers(self._grain.size - grey_nhw.size)
        grey_nhw += self._grain[start : start + grey_nhw.size].reshape(grey_nhw.shape)
        grey_nhw *= soft_nhw
        return grey_nhw.clip(0, 255).astype(np.uint8)
