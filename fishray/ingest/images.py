"""Folders of images, one file for each frame."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fishray.errors import RecordingError
from fishray.store import natural_order

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm")


class ImageFolder:
    """The images of a folder in natural order (2 before 10); anything else in it is left alone.

    Attributes
    ----------
    path
        The folder.
    fps
        None: images state no frame rate.
    frame_count
        Number of images.
    """

    fps = None

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

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Read the frames in order, each of shape (H, W), grey levels 0 to 255.

        Raises
        ------
        RecordingError
            Where a file is no single image that can be read.
        """
        return map(read_grey, self._images)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Grey levels of an image, shape (H, W); of 16 bits the upper 8 are kept."""
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise RecordingError(f"{path} holds several images; save each frame as a file of its own")
            if image.mode.startswith("I"):
                return (np.asarray(image) >> 8).astype(np.uint8)
            if image.mode == "F":
                raise RecordingError(f"{path} holds fractions, not grey levels; save it with 8 bits")
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError) as error:  # Pillow says SyntaxError of a broken PNG
        raise RecordingError(f"{path} cannot be read as an image ({error}); replace or remove it") from error
