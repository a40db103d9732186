"""TIFF files of many pages, one for each frame."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError
from fishray.ingest.digests import sha256_of
from fishray.ingest.grey import grey_frame, refuse_few_levels
from fishray.ingest.images import IMAGE_ERRORS, image_levels, open_image

SUFFIXES = (".tif", ".tiff")
IMAGE_DESCRIPTION = 270
"""TIFF tag; ImageJ writes how many images there are into it."""


class TiffStack:
    """A TIFF file whose pages are the frames, read page by page.

    Attributes
    ----------
    path
        The file.
    fps, times_s
        None: pages state no frame rate.
    """

    fps = None
    times_s = None

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with _strictly(), open_image(path) as image:
                single = not getattr(image, "is_animated", False)
                description = str(getattr(image, "tag_v2", {}).get(IMAGE_DESCRIPTION, ""))
        except IMAGE_ERRORS as error:
            raise RecordingError(
                f"{path} cannot be read as a TIFF ({error}); copy it again, or save it anew"
            ) from error
        if single and re.search(r"^images=", description, re.MULTILINE):
            raise RecordingError(
                f"{path} is a TIFF above 4 GB as ImageJ writes them, of one page with all frames behind it; save it in "
                "ImageJ as an image sequence, and give that folder"
            )
        if single:
            raise RecordingError(f"{path} is one image; give the folder that holds all frames: {path.parent}")

    @cached_property
    def frame_count(self) -> int:
        """Number of pages."""
        try:
            with _strictly(), open_image(self.path) as image:
                return int(getattr(image, "n_frames", 1))
        except IMAGE_ERRORS as error:
            raise self._damaged("its pages cannot be counted", error) from error

    def sha256(self) -> str:
        """SHA-256 of the file, as hexadecimal digits."""
        return sha256_of(self.path)

    def frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Read the frames in order from `start` on, each of shape (H, W), grey levels 0 to 255.

        Raises
        ------
        RecordingError
            Where a page cannot be read; tells which.
        """
        page = start
        try:
            with open_image(self.path) as image:
                for page in range(start, self.frame_count):
                    with _strictly():
                        image.seek(page)
                        levels = image_levels(image, self.path)
                    if page == 0:
                        refuse_few_levels(levels, self.path)
                    yield grey_frame(levels)
        except IMAGE_ERRORS as error:
            raise self._damaged(f"page {page}, counted from 0, cannot be read", error) from error

    def _damaged(self, what: str, error: Exception) -> RecordingError:
        return RecordingError(f"{self.path} is damaged or cut off: {what} ({error}); copy it again, or save it anew")


@contextmanager
def _strictly() -> Iterator[None]:
    # A page that lies beyond the end of the file is no more than a warning to Pillow, and the pages before it are all.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        warnings.filterwarnings("error", "Corrupt EXIF data|Tag data larger than file", UserWarning)
        yield
