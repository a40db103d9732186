"""The zarr v3 store: recordings as frames and speed, chunked for reading clips.

::

    tank.zarr/              attributes: {"format": "fishray/1"}
      <recording>/          attributes: complete, fps, source, source_sha256, settings, fishray
        frames              (T, H, W) uint8; absent where a recording holds speed alone
        speed               (T - 1,) float64, ỹ at the resolution of the source

A recording counts from the moment its attribute ``complete`` turns true, which is the last thing written: what a killed
ingest leaves behind is never read, and the next ingest of that name replaces it.
"""

import difflib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.errors import BaseZarrError

from fishray.errors import StoreError

FORMAT_VERSION = 1
FORMAT = re.compile(r"fishray/([0-9]+)")
CHUNK_FRAMES = 120  # one published look-back: a clip touches two chunks at most
SHARD_BYTES = 128 * 2**20
# Frames of three recordings, 120 pixels high: level 9 packs 1.2 to 1.5 times as well as level 5, writes as fast and
# reads faster; shuffling bits helps a noisy background alone and reads at half the speed.
FRAME_CODEC = BloscCodec(typesize=1, cname="lz4", clevel=9, shuffle="noshuffle")
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
        What is known of its origin: fps, source, source_sha256, settings of the ingest, version of fishray.
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
        complete = {name: group for name, group in root.groups() if group.attrs.get("complete") is True}
        self._groups = {name: complete[name] for name in sorted(complete, key=natural_order)}

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


class RecordingWriter:
    """Writes one recording, frames in whole shards; made by `new_recording`."""

    def __init__(self, group: zarr.Group) -> None:
        self._group = group
        self._frames: zarr.Array[Any] | None = None
        self._shard_thw: NDArray[np.uint8] = np.empty((0, 0, 0), np.uint8)
        self._filled = 0
        self.finished = False

    def append(self, frames_thw: NDArray[np.uint8]) -> None:
        """Add frames, shape (n, H, W), all of one size; they reach the disk when a shard is full."""
        if self._frames is None:
            self._frames = self._create_frames(frames_thw.shape[1], frames_thw.shape[2])
        while len(frames_thw):
            fitting_thw = frames_thw[: len(self._shard_thw) - self._filled]
            self._shard_thw[self._filled : self._filled + len(fitting_thw)] = fitting_thw
            self._filled += len(fitting_thw)
            frames_thw = frames_thw[len(fitting_thw) :]
            if self._filled == len(self._shard_thw):
                self._write_shard()

    def finish(self, speed: NDArray[np.float64]) -> None:
        """Write the last shard and the speed ỹ, shape (T - 1,), and declare the recording complete."""
        if self._filled:
            self._write_shard()
        if self._frames is not None and self._frames.shape[0] != len(speed) + 1:
            raise ValueError(f"{len(speed)} speeds do not go with {self._frames.shape[0]} frames")
        self._group.create_array("speed", data=np.asarray(speed, np.float64), chunks=(len(speed),))
        self._group.attrs["complete"] = True
        self.finished = True

    def _create_frames(self, height: int, width: int) -> zarr.Array[Any]:
        chunks_per_shard = max(1, SHARD_BYTES // (CHUNK_FRAMES * height * width))
        shard = (chunks_per_shard * CHUNK_FRAMES, height, width)
        self._shard_thw = np.empty(shard, np.uint8)
        return self._group.create_array(
            "frames",
            shape=(0, height, width),
            dtype=np.uint8,
            chunks=(CHUNK_FRAMES, height, width),
            shards=shard,
            compressors=FRAME_CODEC,
            dimension_names=("time", "height", "width"),
        )

    def _write_shard(self) -> None:
        frames = cast(zarr.Array[Any], self._frames)
        start, stop = frames.shape[0], frames.shape[0] + self._filled
        frames.resize((stop, *frames.shape[1:]))
        frames[start:stop] = self._shard_thw[: self._filled]
        self._filled = 0


@contextmanager
def new_recording(store: Path, name: str, attributes: Mapping[str, Any]) -> Iterator[RecordingWriter]:
    """Begin a recording, marked incomplete until the writer's `finish`; make the store if there is none.

    Where the block ends without `finish`, by an error or not, nothing of the recording stays, nor of a store that was
    made for it.

    Raises
    ------
    StoreError
        Where the name is unfit or taken by a complete recording, or the path holds something else.
    """
    if not SAFE_NAME.fullmatch(name):
        raise StoreError(f"{name!r} cannot name a recording; choose letters, digits, - and _ with --name")
    if existing_recording(store, name) is not None:
        raise StoreError(f"recording {name} is already there in {store}; choose another with --name")
    made, finished = not store.exists(), False
    try:
        if made:
            _make_store(store)
        shutil.rmtree(store / name, ignore_errors=True)  # what a killed ingest left
        group = _open_root(store, "r+").create_group(name, attributes={"complete": False, **attributes})
        writer = RecordingWriter(group)
        yield writer
        finished = writer.finished
    except OSError as error:
        raise StoreError(
            f"{store} cannot be written: {error.strerror or error}; free space there, or choose another"
        ) from error
    finally:
        if not finished:
            shutil.rmtree(store / name, ignore_errors=True)
            if made and [file.name for file in store.glob("*")] in ([], ["zarr.json"]):  # no other ingest joined in
                shutil.rmtree(store, ignore_errors=True)


def _make_store(path: Path) -> None:
    """Make an empty store in one move: of several ingests that begin at once, one makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        part = Path(folder) / path.name
        zarr.create_group(part, attributes={"format": f"fishray/{FORMAT_VERSION}"}, zarr_format=3)
        try:
            part.rename(path)
        except OSError:
            if not path.exists():
                raise
