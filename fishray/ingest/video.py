"""Videos, of any kind that FFmpeg decodes."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, cast

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fishray.errors import RecordingError
from fishray.ingest.digests import sha256_of
from fishray.ingest.endings import missing_end
from fishray.ingest.orientation import display_matrix, upright
from fishray.ingest.packets import Packets, read_packets
from fishray.ingest.times import frame_rate


class Video:
    """A video file, decoded one frame after another.

    Its frame rate, times and number of frames come from its packets, which are read through once, when first asked for;
    nothing is decoded for them.

    Attributes
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with self._open() as container:
                self._picture(container)
        except av.FFmpegError as error:
            raise RecordingError(
                f"{path} cannot be read as a video ({_reason(error)}); give a complete video file, a folder of images, "
                "a stack of frames (.tif, .npy, .npz, .h5), or a .npy or .csv series of speeds"
            ) from error

    @property
    def fps(self) -> float | None:
        """Frame rate [frames per second]; the mean one where it varies, None where nothing tells it."""
        return self._rate[0]

    @property
    def times_s(self) -> NDArray[np.float64] | None:
        """When each frame is shown [s after the first], shape (frame_count,); None at a constant rate."""
        return self._rate[1]

    @property
    def frame_count(self) -> int | None:
        """Number of frames, None where there seem to be none; a beginning that cannot be decoded counts in."""
        return self._packets.frame_count or None

    def sha256(self) -> str:
        """SHA-256 of the file, as hexadecimal digits."""
        return sha256_of(self.path)

    def frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Decode the frames in order, each of shape (H, W), grey levels 0 to 255, the right way up.

        Parameters
        ----------
        start
            The first frame to give. Those before it are decoded and dropped: few files can be entered at any frame
            and still give exactly the same ones.

        Raises
        ------
        RecordingError
            Where the file is damaged or cut off, before the first frame if its packets tell.
        """
        self._refuse_if_cut_off()
        position, matrix = 0, None
        to_grey = VideoReformatter()
        with self._open() as container:
            stream = self._picture(container)
            stream.thread_type = "AUTO"
            try:
                for frame in container.decode(stream):
                    if frame.is_corrupt:
                        self._refuse(position, "its data are damaged there")
                    if position == 0:
                        matrix = display_matrix(frame)
                    if position >= start:
                        # A raw Y plane of limited range runs from 16 to 235; swscale's grey from 0 to 255.
                        grey = to_grey.reformat(frame, format="gray", threads=1)
                        yield upright(cast(NDArray[np.uint8], grey.to_ndarray()), matrix)
                    position += 1
            except av.FFmpegError as error:
                self._refuse(position, _reason(error), error)
        if self.times_s is not None and position != len(self.times_s):
            self._refuse(position, f"{len(self.times_s)} frames have a time, {position} a picture")

    @cached_property
    def _packets(self) -> Packets:
        with self._open() as container:
            return read_packets(container, self._picture(container))

    @cached_property
    def _rate(self) -> tuple[float | None, NDArray[np.float64] | None]:
        with self._open() as container:
            stated = self._picture(container).average_rate
        times_s = self._packets.times_s
        return frame_rate(times_s - times_s[:1], float(stated) if stated else None)

    def _open(self) -> Any:
        # A colon in a bare name would be taken for a protocol. A title need not be UTF-8; it is not read here.
        return av.open(f"file:{self.path}", metadata_errors="replace")

    def _picture(self, container: Any) -> Any:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & Disposition.attached_pic:  # the cover of a song
            raise RecordingError(f"{self.path} holds no moving picture, only sound or data; give a video")
        if stream.codec_context is None:
            raise RecordingError(
                f"{self.path} is a video that FFmpeg has no decoder for; save it anew with the program that made it"
            )
        return stream

    def _refuse_if_cut_off(self) -> None:
        if self._packets.damaged is not None:
            self._refuse(self._packets.damaged, "the rest is missing or damaged")
        with self._open() as container:
            missing = missing_end(self.path, container, self._picture(container), self._packets.times_s)
        if missing:
            self._refuse(self._packets.frame_count, missing)

    def _refuse(self, position: int, reason: str, cause: Exception | None = None) -> NoReturn:
        raise RecordingError(
            f"{self.path} is damaged or cut off after frame {position} ({reason}); copy it again, or re-encode what is "
            f"there: ffmpeg -i {self.path.name} -crf 18 whole.mp4"
        ) from cause


def _reason(error: av.FFmpegError) -> str:
    return (error.strerror or type(error).__name__).lower()
