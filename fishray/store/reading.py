"""Read a store: its recordings, their frames and speeds."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from fishray.errors import StoreError

FORMAT_VERSION = 1
FORMAT = re.compile(r"fishray/([0-9]+)")
SAFE_NAME = re.compile(r"[A-Za-z0-9_-]+")


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key that reads digits as numbers: frame2 comes before frame10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]


class Recording:
    """One recording of a store, read on demand.

    Attributes
    ----------
    name
        Its name in the store.
    attributes
        What is known of its origin: fps, source, source_sha256, settings of the ingest, what was estimated for it,
        version of fishray.
    """

    def __init__(self, name: str, group: zarr.Group) -> None:
        self.name = name
        self.attributes: dict[str, Any] = group.attrs.asdict()
        self._group = group

    def __repr__(self) -> str:
        return f"Recording({self.name!r}, {self.frame_count} frames of {self.frame_size}, {self.fps:g} fps)"

    @property
    def fps(self) -> float:
        """Frame rate [frames per second]."""
        return float(self.attributes["fps"])

    @cached_property
    def _speed(self) -> zarr.Array[Any]:
        return cast(zarr.Array[Any], self._group["speed"])

    @cached_property
    def _frames(self) -> zarr.Array[Any] | None:
        return cast("zarr.Array[Any] | None", self._group.get("frames"))

    @property
    def frame_count(self) -> int:
        """Number of frames T, one more than there are speeds."""
        return int(self._speed.shape[0]) + 1

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """Height and width of a stored frame [pixels]; None where the recording holds speed alone."""
        return None if self._frames is None else (self._frames.shape[1], self._frames.shape[2])

    @property
    def speed(self) -> NDArray[np.float64]:
        """Speed ỹ, shape (T - 1,) [grey level / 255 per frame]; element t compares frames t and t + 1."""
        return np.asarray(self._speed[:])

    @property
    def times_s(self) -> NDArray[np.float64] | None:
        """When each frame was taken, shape (T,) [s] from the first; None where they are evenly spaced."""
        return self._array("times")

    @property
    def background(self) -> NDArray[np.uint8] | None:
        """What was subtracted from each frame, at the resolution of the source; None where nothing was."""
        return self._array("background")

    def _array(self, name: str) -> NDArray[Any] | None:
        array = cast("zarr.Array[Any] | None", self._group.get(name))
        return None if array is None else np.asarray(array[:])

    def read_frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames start … stop - 1.

        Returns
        -------
        shape (stop - start, H, W)
            Grey levels, 0 to 255.

        Raises
        ------
        StoreError
            Where the recording holds speed alone.
        IndexError
            Outside the recording.
        """
        if self._frames is None:
            raise StoreError(f"recording {self.name} holds speed alone, no frames; only models of speed can use it")
        if not 0 <= start <= stop <= self.frame_count:
            raise IndexError(f"frames {start} to {stop} of a recording of {self.frame_count}")
        return np.asarray(self._frames[start:stop])


class Store:
    """The complete recordings of one store."""

    def __init__(self, path: Path, root: zarr.Group) -> None:
        self.path = path
        there = [each.name for each in path.iterdir() if SAFE_NAME.fullmatch(each.name)]
        groups = {name: root.get(name) for name in sorted(there, key=natural_order)}
        self._groups = {
            name: group
            for name, group in groups.items()
            if isinstance(group, zarr.Group) and group.attrs.get("complete") is True
        }

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {', '.join(self.names) or 'empty'})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the complete recordings, in natural order."""
        return tuple(self._groups)

    def recording(self, name: str) -> Recording:
        """Return the recording of this name.

        Raises
        ------
        StoreError
            Where there is none; lists those that are there.
        """
        if name not in self._groups:
            nearest = difflib.get_close_matches(name, self.names, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise StoreError(f"no recording {name} in {self.path}, which holds {', '.join(self.names) or 'none'}{hint}")
        return Recording(name, self._groups[name])

    def fingerprint(self, names: Iterable[str]) -> str:
        """Fingerprint of the recordings of these names; see `fingerprint`."""
        return fingerprint([self.recording(name) for name in set(names)])


def fingerprint(recordings: Iterable[Recording]) -> str:
    """SHA-256 over what recordings hold and came from, as hexadecimal digits.

    It depends neither on the paths of their stores nor on their order.
    """
    contents = []
    for recording in sorted(recordings, key=lambda recording: recording.name):
        content = {key: recording.attributes.get(key) for key in ("source_sha256", "settings")}
        content |= {"name": recording.name, "fps": recording.fps, "frame_size": recording.frame_size}
        speed = recording.speed.astype("<f8")
        content |= {"speeds": len(speed), "speed_sha256": hashlib.sha256(speed.tobytes()).hexdigest()}
        contents.append(content)
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def open_store(path: Path) -> Store:
    """Open a store for reading.

    Raises
    ------
    StoreError
        Where there is no store, something else, or a store of a newer format.
    """
    if not path.exists():
        raise StoreError(f"no store at {path}; make it: fishray ingest VIDEO --store {path}")
    return Store(path, _open_root(path, "r"))


def existing_recording(store: Path, name: str) -> Recording | None:
    """Return the complete recording of this name; None where it, or the whole store, is not there."""
    if not store.exists():
        return None
    opened = open_store(store)
    return opened.recording(name) if name in opened.names else None


def _open_root(path: Path, mode: Literal["r", "r+"]) -> zarr.Group:
    try:
        root = zarr.open_group(path, mode=mode, zarr_format=3)
        format_ = FORMAT.fullmatch(str(root.attrs.get("format")))
    except PermissionError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}; ask its owner for access") from error
    except (BaseZarrError, OSError, ValueError, KeyError, TypeError):
        format_ = None
    if format_ is None:
        raise StoreError(f"{path} is not a fishray store; make one elsewhere: fishray ingest VIDEO --store NEW.zarr")
    if int(format_[1]) > FORMAT_VERSION:
        raise StoreError(
            f"{path} has the format {format_[0]}, and this fishray reads up to fishray/{FORMAT_VERSION}; "
            "upgrade it: pip install --upgrade fishray"
        )
    return root


def annotate(store: Path, name: str, **attributes: Any) -> None:
    """Add attributes to a recording; they are no part of its fingerprint."""
    _open_root(store, "r+")[name].update_attributes(attributes)
