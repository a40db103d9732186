"""Every error that fishray raises on purpose.

::

    FishrayError              one line for a person: what, where, what to do; exit status 2
    ├── SweepFileError        a sweep file with one or more faults, each with its line
    ├── StoreError            a store that is missing, of another format, or incomplete
    ├── RecordingError        a video, image folder or series that cannot be used
    ├── LabelError            a rule that gives no usable labels on a split
    ├── RunError              a run directory that is in the way, missing, damaged or in use
    │   └── WeightsError      a checkpoint or a trial's best weights, missing or damaged
    ├── StorageError          a disk that is full, read-only or gone while a run is written
    ├── DivergedError         a network whose loss or outputs are no longer numbers
    ├── ResourceError         CPUs, GPUs or memory that this machine does not have
    └── SettingError          one setting given on the command line that cannot be used

Anything else that escapes is a defect of fishray and keeps its traceback.
"""


class FishrayError(Exception):
    """What went wrong, where, and what to do about it, in one line."""

    exit_status = 2


class SweepFileError(FishrayError):
    """A sweep file with one or more faults."""


class StoreError(FishrayError):
    """A store that is missing, of another format, or incomplete."""


class RecordingError(FishrayError):
    """A video, image folder or series that cannot be used."""


class LabelError(FishrayError):
    """A rule that gives no usable labels on a split."""


class RunError(FishrayError):
    """A run directory that is in the way, missing, damaged or in use."""


class WeightsError(RunError):
    """A checkpoint or a trial's best weights, missing or damaged."""


class StorageError(FishrayError):
    """A disk that is full, read-only or gone while a run is written."""


class DivergedError(FishrayError):
    """A network whose loss or outputs are no longer numbers."""


class ResourceError(FishrayError):
    """CPUs, GPUs or memory that this machine does not have."""


class SettingError(FishrayError):
    """One setting given on the command line that cannot be used."""
