"""The zarr v3 store: recordings as frames and speed, chunked for reading clips.

::

    tank.zarr/              attributes: {"format": "fishray/1"}
      <recording>/          attributes: complete, fps, source, source_sha256, settings, estimates, fishray
        frames              (T, H, W) uint8; absent where a recording holds speed alone
        speed               (T - 1,) float64, ỹ at the resolution of the source
        times               (T,) float64 [s] from the first frame; only where frames are not evenly spaced
        background          (height, width) uint8 of the source's region; only where it was subtracted
      .ingest-<recording>/  what an ingest under way, or one that was stopped, has written so far

A recording moves to its place in one step when all of it is on disk, so it is whole or absent. What a killed ingest
leaves is never read; the next one with the same source and settings goes on with it.
"""

from fishray.store.reading import (
    Recording,
    Store,
    annotate,
    existing_recording,
    fingerprint,
    natural_order,
    open_store,
)
from fishray.store.writing import CHUNK_FRAMES, RecordingWriter, new_recording

__all__ = [
    "CHUNK_FRAMES",
    "Recording",
    "RecordingWriter",
    "Store",
    "annotate",
    "existing_recording",
    "fingerprint",
    "natural_order",
    "new_recording",
    "open_store",
]
