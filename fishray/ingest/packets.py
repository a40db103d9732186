"""What the packets of a video tell without being decoded: how many frames, when each is shown, where they end."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

PACKET = np.dtype([("shown", np.float64), ("stored", np.float64), ("damaged", np.bool_)])
VP8_SHOWN = 0x10  # RFC 6386, section 9.1: without it a frame is only there for others to refer to


@dataclass(frozen=True)
class Packets:
    """The packets of a video, one for each frame that is shown.

    Attributes
    ----------
    frame_count
        How many there are.
    times_s
        Shape (frame_count,), when each frame is shown [s by the file's own clock], in order of time; empty where the
        file does not tell.
    damaged
        Position of the first packet that is not whole; None where all are.
    """

    frame_count: int
    times_s: NDArray[np.float64]
    damaged: int | None


def read_packets(container: Any, stream: Any) -> Packets:
    """Go through the packets of a stream; the memory that it takes is 17 bytes for each."""
    packets = np.fromiter(_shown_packets(container, stream), PACKET)
    # Old AVI files know only the order in which frames are stored; as many lie a constant time later on the screen.
    ticks = next((ticks for ticks in (packets["shown"], packets["stored"]) if not np.isnan(ticks).any()), np.empty(0))
    times_s = np.sort(ticks) * stream.time_base.numerator / stream.time_base.denominator
    damaged = np.flatnonzero(packets["damaged"])
    return Packets(len(packets), times_s, int(damaged[0]) if len(damaged) else None)


def _shown_packets(container: Any, stream: Any) -> Iterator[tuple[float, float, bool]]:
    is_vp8 = stream.codec_context.name == "vp8"
    try:
        for packet in container.demux(stream):
            # An edit list discards packets that are there for others alone.
            if not packet.size or packet.is_discard or (is_vp8 and not memoryview(packet)[0] & VP8_SHOWN):
                continue
            yield _ticks(packet.pts), _ticks(packet.dts), packet.is_corrupt
    except av.FFmpegError:
        return  # decoding comes to the same place and says why


def _ticks(ticks: int | None) -> float:
    return math.nan if ticks is None else ticks
