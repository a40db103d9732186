"""Whether a video goes on to the end that its container states; FFmpeg takes many that were cut off without a word."""

import os
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

MISSING_SHARE = 0.1  # sound may outlast the picture a little; more than that was cut off
GIF_TRAILER = b";"
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_FILE_SIZE = 40  # bytes from the object's identifier to the size of the file


def missing_end(path: Path, container: Any, stream: Any, times_s: NDArray[np.float64]) -> str | None:
    """Say what is missing at the end of a video; None if nothing is, or nothing tells.

    MP4 and MPEG streams need no more than the mark on the packet that was cut through. Of an MPEG or raw stream that
    was cut off between two frames, nobody can know it.

    Parameters
    ----------
    path
        The file.
    container, stream
        It, opened, and its picture.
    times_s : shape (T,)
        When its frames are shown [s by the file's own clock]; may be empty.
    """
    if container.format.name == "gif":
        return _missing_gif_trailer(path)
    if container.format.name == "asf":
        return _missing_asf_bytes(path)
    is_avi = container.format.name == "avi"
    if len(times_s) < 2 or (stream.frames and not is_avi):
        return None
    intervals_s = np.diff(times_s)
    stop_s = float(times_s[-1] + intervals_s.max())
    stated_s, slack_s = _picture_s(stream), float(intervals_s.mean())
    if stated_s is None:
        # An AVI counts its frames in its header; what is said of its duration is taken from what is there.
        stated_s = float(stream.frames * stream.time_base) if is_avi else (container.duration or 0) / av.time_base
        slack_s = MISSING_SHARE * stated_s
    return f"it stops after {stop_s:.1f} s of {stated_s:.1f} s" if stated_s - stop_s > slack_s else None


def _picture_s(stream: Any) -> float | None:
    # Matroska states the end of the picture itself as a tag, 00:29:59.960000000.
    tag = next((text for name, text in stream.metadata.items() if name.startswith("DURATION")), "")
    clock = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", tag)
    if clock is None:
        return None
    hours, minutes, seconds = clock.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _missing_gif_trailer(path: Path) -> str | None:
    with path.open("rb") as file:
        file.seek(-min(1024, path.stat().st_size), os.SEEK_END)
        whole = file.read().rstrip(b"\0").endswith(GIF_TRAILER)
    return None if whole else "the mark at its end is missing"


def _missing_asf_bytes(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(2**16)
    properties = head.find(ASF_FILE_PROPERTIES)
    stated = int.from_bytes(head[properties + ASF_FILE_SIZE :][:8], "little") if properties >= 0 else 0
    present = path.stat().st_size
    return f"{present:,} bytes are there of {stated:,}" if present < stated else None
