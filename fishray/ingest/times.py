"""When the frames of a video are shown, and how many of them there are for each second."""

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.25
"""How far from its place at a constant rate a frame may be shown [intervals between frames]. Containers round times to
1 ms, a GIF to 10 ms, which stays below; one dropped frame moves some frame by half an interval at least."""


def frame_rate(
    times_s: NDArray[np.float64], stated_fps: float | None
) -> tuple[float | None, NDArray[np.float64] | None]:
    """Frame rate of a video, and the times of its frames where no rate gives them.

    Parameters
    ----------
    times_s : shape (T,)
        When each frame is shown [s after the first one]; empty where the file does not tell.
    stated_fps
        Frame rate that the file states, if any.

    Returns
    -------
    fps
        The stated rate if the frames keep it, else their mean rate, (T - 1) / (last - first); None if nothing tells it.
    times_s
        None if the frames keep `fps`: none is further than `TOLERANCE` intervals from its place.
    """
    if not len(times_s):
        return None, None  # of a stream without a container FFmpeg says 25, whatever it is
    if times_s[-1] <= 0:
        return stated_fps, None
    mean_fps = (len(times_s) - 1) / float(times_s[-1])
    for fps in (stated_fps, mean_fps):
        if fps and np.abs(times_s * fps - np.arange(len(times_s))).max() <= TOLERANCE:
            return fps, None
    return mean_fps, times_s
