"""Grey levels of 8 bits, from arrays of other kinds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fishray.errors import RecordingError

CHANNELS = (1, 3, 4)
FEWEST_LEVELS = 16  # of 256: with fewer, animals that move by a pixel hardly change the picture


def grey_frame(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey levels of one frame.

    Parameters
    ----------
    frame : shape (H, W), or (H, W, C) with 1, 3 or 4 channels
        Of uint8 or uint16; colours are red, green, blue, and perhaps opacity, which is left out.

    Returns
    -------
    shape (H, W)
        Of 16 bits the upper 8 are kept; a colour has the luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B.
    """
    if frame.dtype.itemsize > 1:
        frame = (frame >> 8).astype(np.uint8)
    if frame.ndim == 2:
        return frame
    if frame.shape[2] == 1:
        return np.ascontiguousarray(frame[..., 0])
    return np.array(Image.fromarray(np.ascontiguousarray(frame[..., :3])).convert("L"))


def refuse_few_levels(frame: NDArray[Any], where: object) -> None:
    """Refuse a recording of 16 bits whose first frame would be all but black.

    Cameras of 10 or 12 bits often save their numbers as they are into files of 16; so do programs with numbers of 8.

    Raises
    ------
    RecordingError
        Where fewer than 16 grey levels would be left of it.
    """
    highest = int(frame.max(initial=0))
    if frame.dtype.itemsize > 1 and 0 < highest < FEWEST_LEVELS << 8:
        raise RecordingError(
            f"{where} has 16 bits, but its first frame goes up to {highest} of 65535, and of 16 bits the upper 8 are "
            "kept; multiply all of it by the same number first (16 for a camera of 12 bits, 64 for one of 10), or save "
            "it with 8 bits"
        )


def refuse_other_numbers(dtype: np.dtype[Any], where: object) -> None:
    """Refuse numbers that are no grey levels of 8 or 16 bits.

    Raises
    ------
    RecordingError
        Says how to save them instead.
    """
    if dtype.kind == "f":
        raise RecordingError(
            f"{where} holds fractions ({dtype}), not grey levels; save it with 8 bits, such as "
            "(255 * frames).astype('uint8') where 1 is white"
        )
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise RecordingError(
            f"{where} holds {dtype}, not grey levels of 8 or 16 bits; save it with 8, such as frames.astype('uint8') "
            "where 255 is white"
        )
