"""Which way up a sensor was held."""

from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray


def display_matrix(frame: Any) -> Any:
    """The display matrix of a decoded frame; None where it has none.

    One frame stands for its video. To ask binds a frame to itself, and its memory is not free before the garbage
    collector passes, after some hundred frames.
    """
    return frame.side_data.get(Type.DISPLAYMATRIX)


def upright(grey_hw: NDArray[np.uint8], matrix: Any) -> NDArray[np.uint8]:
    """Turn and mirror the grey levels of a decoded frame as its display matrix says, to the nearest quarter turn.

    Parameters
    ----------
    grey_hw : shape (H, W)
        Its grey levels as they are stored.
    matrix
        What `display_matrix` says.

    Returns
    -------
    shape (H, W) or (W, H)
        Its grey levels as a player shows them.
    """
    if matrix is None:
        return grey_hw
    # The pixel in column x and row y is shown in column a·x + c·y and row b·x + d·y.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        grey_hw, a, d = grey_hw.T, c, b
    return np.ascontiguousarray(grey_hw[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
