"""Random changes of training crops that leave the label as it is; one draw for all frames of a crop."""

from collections.abc import Callable

import torch
from torch import Tensor

Transform = Callable[[Tensor], Tensor]

ROTATION_DEG = 8
SHIFT = 0.05
SCALE = (0.95, 1.05)
BRIGHTNESS = 0.2


def pixel_transform(kind: str) -> Transform | None:
    """Transform of pixels (t, c, h, w) in [0, 1].

    Parameters
    ----------
    kind
        none; flips (horizontal, vertical or both, the published ones); affine (flips, small rotations, shifts, scalings
        and brightness changes).
    """
    if kind == "none":
        return None
    from torchvision.transforms import v2  # takes longer than torch itself, and few networks need it

    flips: list[torch.nn.Module] = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    if kind == "flips":
        flip: Transform = v2.Compose(flips)
        return flip
    affine = v2.RandomAffine(
        degrees=ROTATION_DEG,
        translate=(SHIFT, SHIFT),
        scale=SCALE,
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    geometry = v2.Compose([*flips, affine])
    brightness = v2.ColorJitter(brightness=BRIGHTNESS)

    def transform(pixels_tchw: Tensor) -> Tensor:
        # What turns into view is background, not black: a bright tank would get an edge that no animal made.
        background_c11 = pixels_tchw.transpose(0, 1).flatten(1).median(dim=1).values[:, None, None]
        moved = geometry(pixels_tchw - background_c11) + background_c11
        grey = moved.flatten(0, 1)[:, None]  # colour transforms know one channel or three
        brightened: Tensor = brightness(grey)
        return brightened.view_as(pixels_tchw)

    return transform


def speed_transform(kind: str, noise: float) -> Transform | None:
    """Transform of a speed series (b, t): Gaussian noise of a standard deviation in the series' units."""
    if kind == "none":
        return None
    return lambda speed_bt: speed_bt + noise * torch.randn_like(speed_bt)
