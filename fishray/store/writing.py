"""Write a recording into a store, so that it is whole or absent and can be gone on with."""

import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.errors import BaseZarrError

from fishray.errors import StoreError
from fishray.files import sync
from fishray.store.reading import FORMAT_VERSION, SAFE_NAME, existing_recording

CHUNK_FRAMES = 120  # one published look-back: a clip touches two chunks at most
SHARD_BYTES = 128 * 2**20
# Frames of three recordings, 120 pixels high: level 9 packs 1.2 to 1.5 times as well as level 5, writes as fast and
# reads faster; shuffling bits helps a noisy background alone and reads at half the speed.
FRAME_CODEC = BloscCodec(typesize=1, cname="lz4", clevel=9, shuffle="noshuffle")
SPEED = np.dtype("<f8")


class RecordingWriter:
    """Writes one recording, frames in whole shards, beside its place until it is finished.

    Where one of the same attributes was stopped, it goes on with that; what was begun otherwise is thrown away.

    Attributes
    ----------
    frame_count
        Frames that are on disk to stay: whole shards, with the speeds between their frames.
    replaced
        Whether something else had been begun under this name.
    finished
        Whether the recording is in its place.
    """

    def __init__(self, store: Path, name: str, attributes: Mapping[str, Any]) -> None:
        self._store, self._place = store, store / name
        self._folder = unfinished_path(store, name) / "recording"
        self._speed_path = unfinished_path(store, name) / "speed"
        self._frames: zarr.Array[Any] | None = None
        self._shard_thw: NDArray[np.uint8] = np.empty((0, 0, 0), np.uint8)
        self._filled = 0
        self._speeds = array("d")  # 8 bytes each, where a list takes 32
        self.frame_count = 0
        self.finished = False
        with storing(store):
            begun = self._begun(attributes)
            self.replaced = begun is None and self._folder.exists()
            if begun is None:
                shutil.rmtree(self._folder, ignore_errors=True)
                begun = zarr.create_group(self._folder, attributes={"complete": False, **attributes}, zarr_format=3)
            self._group = begun
            self._go_on()

    @property
    def attributes(self) -> dict[str, Any]:
        """What is known of the recording so far."""
        known: dict[str, Any] = self._group.attrs.asdict()
        return known

    @property
    def speed(self) -> NDArray[np.float64]:
        """The speeds so far, shape (n,)."""
        return np.array(self._speeds, np.float64)

    def read_array(self, name: str) -> NDArray[Any]:
        """Read what `add_array` has written."""
        return np.asarray(cast(zarr.Array[Any], self._group[name])[:])

    def add_array(self, name: str, values: NDArray[Any]) -> None:
        """Write an array beside frames and speed."""
        with storing(self._store):
            self._group.create_array(name, data=values, chunks=values.shape, overwrite=True)

    def annotate(self, **attributes: Any) -> None:
        """Add attributes."""
        with storing(self._store):
            self._group.attrs.update(attributes)

    def append(self, frames_thw: NDArray[np.uint8], speed: Sequence[float] = ()) -> None:
        """Add frames, shape (n, H, W), all of one size; they reach the disk when a shard is full.

        Parameters
        ----------
        speed
            The speeds that end at these frames. Where all are given, what was written can be gone on with.
        """
        self._speeds.extend(speed)
        with storing(self._store):
            if self._frames is None:
                self._frames = self._create_frames(frames_thw.shape[1], frames_thw.shape[2])
            while len(frames_thw):
                fitting_thw = frames_thw[: len(self._shard_thw) - self._filled]
                self._shard_thw[self._filled : self._filled + len(fitting_thw)] = fitting_thw
                self._filled += len(fitting_thw)
                frames_thw = frames_thw[len(fitting_thw) :]
                if self._filled == len(self._shard_thw):
                    self._keep(self._write_shard())

    def finish(self, speed: NDArray[np.float64]) -> None:
        """Write the last shard and the speed ỹ, shape (T - 1,), and move the recording to its place."""
        with storing(self._store):
            if self._filled:
                self._write_shard()
            if self._frames is not None and self._frames.shape[0] != len(speed) + 1:
                raise ValueError(f"{len(speed)} speeds do not go with {self._frames.shape[0]} frames")
            self.add_array("speed", np.asarray(speed, np.float64))
            self._group.attrs["complete"] = True
            for path in self._folder.rglob("*"):
                sync(path)
            shutil.rmtree(self._place, ignore_errors=True)  # an incomplete one, of an earlier fishray
            self._folder.rename(self._place)
            sync(self._store)
        self.finished = True

    def _begun(self, attributes: Mapping[str, Any]) -> zarr.Group | None:
        """What was begun with the same attributes; more may have been added to them."""
        try:
            group = zarr.open_group(self._folder, mode="r+", zarr_format=3)
            known = group.attrs.asdict()
        except (BaseZarrError, OSError, ValueError, KeyError, TypeError):  # none, or torn
            return None
        wanted = json.loads(json.dumps(attributes))
        return group if {key: known.get(key) for key in wanted} == wanted else None

    def _go_on(self) -> None:
        """Take the shards whose speeds are known, and throw away what was written after them."""
        for part in self._folder.rglob("*.partial"):  # zarr was writing it
            part.unlink()
        self._speed_path.touch()
        frames = cast("zarr.Array[Any] | None", self._group.get("frames"))
        if frames is not None and frames.shards is not None:
            kept = self._speed_path.stat().st_size // SPEED.itemsize + 1
            whole = min(kept, frames.shape[0]) // frames.shards[0] * frames.shards[0]
            if whole:
                frames.resize((whole, *frames.shape[1:]))
                self._use(frames)
                self.frame_count = whole
        os.truncate(self._speed_path, max(0, self.frame_count - 1) * SPEED.itemsize)
        self._speeds = array("d", np.fromfile(self._speed_path, SPEED))

    def _create_frames(self, height: int, width: int) -> zarr.Array[Any]:
        chunks_per_shard = max(1, SHARD_BYTES // (CHUNK_FRAMES * height * width))
        frames = self._group.create_array(
            "frames",
            shape=(0, height, width),
            dtype=np.uint8,
            chunks=(CHUNK_FRAMES, height, width),
            shards=(chunks_per_shard * CHUNK_FRAMES, height, width),
            compressors=FRAME_CODEC,
            dimension_names=("time", "height", "width"),
            overwrite=True,
        )
        self._use(frames)
        return frames

    def _use(self, frames: zarr.Array[Any]) -> None:
        self._frames = frames
        self._shard_thw = np.empty(cast("tuple[int, ...]", frames.shards), np.uint8)

    def _write_shard(self) -> int:
        """Write what has come together; the number of frames on disk."""
        frames = cast(zarr.Array[Any], self._frames)
        start = int(frames.shape[0])
        stop = start + self._filled
        frames.resize((stop, *frames.shape[1:]))
        frames[start:stop] = self._shard_thw[: self._filled]
        self._filled = 0
        return stop

    def _keep(self, frame_count: int) -> None:
        """Write the speeds between frames that are on disk: from now on the frames count."""
        shard = self._folder / "frames" / "c" / str(frame_count // len(self._shard_thw) - 1) / "0" / "0"
        if shard.exists():  # one that is all black is none
            sync(shard)
        sync(self._folder / "frames" / "zarr.json")
        first = max(0, self.frame_count - 1)
        with self._speed_path.open("ab") as file:
            file.write(np.array(self._speeds[first : frame_count - 1], SPEED).tobytes())
        sync(self._speed_path)
        self.frame_count = frame_count


@contextmanager
def new_recording(store: Path, name: str, attributes: Mapping[str, Any]) -> Iterator[RecordingWriter]:
    """Write a recording in one go; make the store if there is none.

    Where the block ends without the writer's `finish`, by an error or not, nothing of the recording stays, nor of a
    store that was made for it.

    Raises
    ------
    StoreError
        Where the name is unfit or taken by a complete recording, or the path holds something else.
    """
    made = claim(store, name)
    try:
        shutil.rmtree(unfinished_path(store, name))  # what a killed one left
        yield RecordingWriter(store, name, attributes)
    finally:
        clear(store, name, made)


def unfinished_path(store: Path, name: str) -> Path:
    """Folder that holds a recording until it is finished."""
    return store / f".ingest-{name}"


def claim(store: Path, name: str) -> bool:
    """Make the folder for an unfinished recording, and the store; return whether that had to be made.

    Raises
    ------
    StoreError
        Where the name is unfit or taken by a complete recording, or the path holds something else.
    """
    if not SAFE_NAME.fullmatch(name):
        raise StoreError(f"{name!r} cannot name a recording; choose letters, digits, - and _ with --name")
    if existing_recording(store, name) is not None:
        raise StoreError(f"recording {name} is already there in {store}; choose another with --name")
    made = not store.exists()
    with storing(store):
        if made:
            _make_store(store)
        unfinished_path(store, name).mkdir(exist_ok=True)
    return made


def clear(store: Path, name: str, made: bool) -> None:
    """Remove what is unfinished of a recording, and the store if it was `made` for it and holds nothing else."""
    shutil.rmtree(unfinished_path(store, name), ignore_errors=True)
    if made and [file.name for file in store.glob("*")] in ([], ["zarr.json"]):  # no other ingest joined in
        shutil.rmtree(store, ignore_errors=True)


@contextmanager
def storing(store: Path) -> Iterator[None]:
    """Say of an operating system's error that it is the store's."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{store} cannot be written: {error.strerror or error}; free space there, or choose another"
        ) from error


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
