"""How a frame is made smaller."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fishray.errors import SettingError

SHORTER_SIDE = 120  # the published models saw frames of 120 x 160
SIDE_MULTIPLE = 4  # two halvings of the picture, by stride or by pooling, come out even


def stored_size(source_size: tuple[int, int], size: tuple[int, ...] | None = None) -> tuple[int, int]:
    """Height and width of stored frames [pixels], chosen where `size` is None.

    Raises
    ------
    SettingError
        Where `size` would enlarge the frames.
    """
    if size is None:
        scale = min(1.0, SHORTER_SIDE / min(source_size))
        return _rounded_side(source_size[0], scale), _rounded_side(source_size[1], scale)
    if size[0] > source_size[0] or size[1] > source_size[1]:
        raise SettingError(
            f"size {size[0]}x{size[1]} (height x width) would enlarge frames of {source_size[0]}x{source_size[1]}; "
            "choose a smaller one"
        )
    return size[0], size[1]


def _rounded_side(side: int, scale: float) -> int:
    if side < SIDE_MULTIPLE:
        return side
    rounded = SIDE_MULTIPLE * max(1, round(side * scale / SIDE_MULTIPLE))
    return min(rounded, side // SIDE_MULTIPLE * SIDE_MULTIPLE)


def resize_area(frame_hw: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Shrink a frame by averaging the area that each new pixel covers.

    Parameters
    ----------
    frame_hw : shape (H, W)
        Grey levels, 0 to 255.
    size
        New height and width [pixels], not larger than the frame.

    Returns
    -------
    shape size
        Exact averages, rounded, halves upwards.
    """
    if frame_hw.shape == size:
        return frame_hw
    area = frame_hw.size  # of a new pixel, counted in parts of 1 / (new height * new width) of an old one
    columns_wh = _axis_sums(frame_hw, size[0]).T.copy()
    sums_hw = _axis_sums(columns_wh, size[1]).T
    return ((2 * sums_hw + area) // (2 * area)).astype(np.uint8)


def resize_nearest(frame_hw: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Shrink a frame by taking the pixel at the middle of the area that each new pixel covers.

    At whole factors this is the nearest neighbour of Pillow, and with it of Keras, which made the published clips: at
    half the size it takes the second row and column of each two, where OpenCV takes the first.

    Parameters
    ----------
    frame_hw : shape (H, W)
        Grey levels, 0 to 255.
    size
        New height and width [pixels], not larger than the frame.

    Returns
    -------
    shape size
        Grey levels that were there before.
    """
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, frame_hw.shape, strict=True))
    nearest_hw: NDArray[np.uint8] = frame_hw[rows[:, None], columns]
    return nearest_hw


def _axis_sums(values: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    # Element i sums the old rows between i * rows / count and (i + 1) * rows / count, times count to stay in integers:
    # the rows that begin there, less the part of the first and plus the part of the next that lie across the border.
    rows = len(values)
    first, across = np.divmod(np.arange(count + 1) * rows, count)
    begin, fewest = first[:-1], rows // count
    narrow = values.dtype == np.uint8 and 255 * (fewest + 1) < 2**16
    sums: NDArray[Any] = values[begin].astype(np.uint16 if narrow else np.int64)
    for k in range(1, fewest):  # the k-th row of every element at once: 3 to 8 times as fast as element by element
        sums += values[begin + k]
    one_more = np.flatnonzero(np.diff(first) > fewest)
    sums[one_more] += values[begin[one_more] + fewest]
    scaled: NDArray[np.int64] = sums * np.int64(count)
    if across.any():
        borders = values[begin] * across[:-1, None]
        scaled -= borders
        scaled[:-1] += borders[1:]
    return scaled
