"""Videos, of any kind that FFmpeg decodes."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fishray.errors import RecordingError

MISSING_SHARE = 0.1  # sound may outlast the picture a little; more than that was cut off


class Video:
    """A video file, decoded one frame after another.

    Attributes
    ----------
    path
        The file.
    fps
        Frame rate that it states [frames per second]; None where it states none.
    frame_count
        Number of frames that it states, for a progress bar; None where it states none. Only decoding tells.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with av.open(path) as container:
                stream = self._picture(container)
                self.fps = float(stream.average_rate) if stream.average_rate else None
                self.frame_count = stream.frames or None
        except av.FFmpegError as error:
            raise RecordingError(
                f"{path} cannot be read as a video ({_reason(error)}); give a complete video file, a folder of images, "
                "or a .npy or .csv series of speeds"
            ) from error

    def sha256(self) -> str:
        """SHA-256 of the file, as hexadecimal digits."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Decode the frames in order, each of shape (H, W), grey levels 0 to 255.

        Raises
        ------
        RecordingError
            Where the file is damaged or cut off.
        """
        decoded, end_s = 0, 0.0
        to_grey = VideoReformatter()
        with av.open(self.path) as container:
            stream = self._picture(container)
            stream.thread_type = "AUTO"
            try:
                for packet in container.demux(stream):
                    if packet.is_corrupt:
                        self._refuse(decoded, "the rest is missing")
                    for frame in packet.decode():
                        # A raw Y plane of limited range runs from 16 to 235; swscale's grey from 0 to 255.
                        grey = to_grey.reformat(frame, format="gray", threads=1)
                        yield cast(NDArray[np.uint8], grey.to_ndarray())
                        decoded += 1
                        end_s = frame.time if frame.time is not None else end_s
            except av.FFmpegError as error:
                self._refuse(decoded, _reason(error), error)
            if not stream.frames and container.duration and stream.average_rate:
                # Containers without an index (Matroska) end early without a word; their header knows better.
                stated_s = container.duration / av.time_base
                if stated_s - end_s - 1 / stream.average_rate > MISSING_SHARE * stated_s:
                    self._refuse(decoded, f"it stops after {end_s:.1f} s of {stated_s:.1f} s")

    def _picture(self, container: Any) -> Any:
        if not container.streams.video:
            raise RecordingError(f"{self.path} holds no picture, only sound or data; give a video")
        return container.streams.video[0]

    def _refuse(self, decoded: int, reason: str, cause: Exception | None = None) -> NoReturn:
        raise RecordingError(
            f"{self.path} is damaged or cut off after frame {decoded} ({reason}); copy it again, or re-encode what is "
            f"there: ffmpeg -i {self.path.name} -crf 18 whole.mp4"
        ) from cause


def _reason(error: av.FFmpegError) -> str:
    return (error.strerror or type(error).__name__).lower()
