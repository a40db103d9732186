"""Folders of images, one file for each frame."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fishray.errors import RecordingError
from fishray.ingest.grey import grey_frame, refuse_few_levels, refuse_other_numbers
from fishray.store import natural_order

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm")
IMAGE_ERRORS = (OSError, EOFError, SyntaxError, TypeError, ValueError, UserWarning, Image.DecompressionBombError)
"""What Pillow raises over a damaged image; of a broken PNG it says SyntaxError."""


class ImageFolder:
    """The images of a folder in natural order (2 before 10); anything else in it is left alone.

    Attributes
    ----------
    path
        The folder.
    fps, times_s
        None: images state no frame rate.
    frame_count
        Number of images.
    """

    fps = None
    times_s = None

    def __init__(self, path: Path) -> None:
        self.path = path
        images = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
        if not images:
            raise RecordingError(f"no images in {path}; give a folder of {', '.join(SUFFIXES)} files, or a video")
        self._images = sorted(images, key=lambda file: natural_order(file.name))
        self.frame_count = len(images)

    def sha256(self) -> str:
        """SHA-256 over the names and contents of the images, as hexadecimal digits."""
        digest = hashlib.sha256()
        for image in self._images:
            digest.update(image.name.encode() + b"\0" + hashlib.sha256(image.read_bytes()).digest())
        return digest.hexdigest()

    def frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Read the frames in order from `start` on, each of shape (H, W), grey levels 0 to 255, the right way up.

        Raises
        ------
        RecordingError
            Where a file is no single image that can be read.
        """
        for position, path in enumerate(self._images[start:], start):
            levels = read_image(path)
            if position == 0:
                refuse_few_levels(levels, path)
            yield grey_frame(levels)


def read_image(path: Path) -> NDArray[Any]:
    """Read a file with a single image; what `image_levels` says of it."""
    try:
        # Garbled notes of a camera are a warning to Pillow, and nothing to us.
        with warnings.catch_warnings(action="ignore", category=UserWarning), open_image(path) as image:
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a phone's JPEG with a preview behind it
                raise RecordingError(f"{path} holds several images; give it alone, or save each frame as its own file")
            return image_levels(image, path)
    except IMAGE_ERRORS as error:
        raise RecordingError(f"{path} cannot be read as an image ({error}); replace or remove it") from error


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file."""
    # By name, Pillow would map an uncompressed TIFF into memory, and garble one that is to be turned by a quarter.
    with path.open("rb") as file, Image.open(file) as image:
        yield image


def image_levels(image: Image.Image, where: object) -> NDArray[Any]:
    """Levels of an opened image, turned and mirrored as its EXIF orientation says.

    Returns
    -------
    shape (H, W)
        Grey levels of uint8, or of uint16 where it has 16 bits.

    Raises
    ------
    RecordingError
        Where its numbers are no grey levels.
    """
    ImageOps.exif_transpose(image, in_place=True)
    levels = np.asarray(image if image.mode.startswith(("I", "F")) else image.convert("L"))
    if image.mode == "I" and levels.min() >= 0 and levels.max() < 2**16:  # how Pillow gives a PGM of 16 bits
        levels = levels.astype(np.uint16)
    refuse_other_numbers(levels.dtype, where)
    return levels
