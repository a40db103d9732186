"""What a cluster's workers are: the ``cluster:`` block of a sweep, or a site's profile. Pure data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from hpc.times import parse_time

NODE_END = "HPC_NODE_END"
"""Environment variable of everything that runs on a worker: the path of a file that says when its node will end
[s since 1970]. It is rewritten when that comes to be earlier."""


def _slurm_time(value: Any) -> Any:
    if isinstance(value, str):
        parse_time(value)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f'{value}: must be a time as Slurm writes it, in quotes, like "04:00:00"')


def _sbatch_value(value: Any) -> Any:
    if isinstance(value, str | int):
        return value
    raise ValueError(f"{value!r}: must be a word, a whole number, true or false")


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


SlurmTime = Annotated[str, BeforeValidator(_slurm_time)]
"""As Slurm writes it: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS."""

SbatchOptions = dict[str, Annotated[str | int | bool, BeforeValidator(_sbatch_value)]]
"""Any options of sbatch by their long names; true: an option without a value; false: leave out one of ours."""


class _Settings(BaseModel):
    """Frozen; a misspelt key is an error, and no value is silently converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class WorkerCount(_Settings):
    """How many workers there may be."""

    min: NonNegativeInt = 0
    """Kept even while there is nothing for them to do."""
    max: PositiveInt = 4

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class JobSettings(_Settings):
    """What any job of ours asks Slurm for."""

    cpus: PositiveInt = 2
    memory_gb: PositiveFloat = 8.0
    time: SlurmTime = "1-00:00:00"
    partition: str | None = None
    account: str | None = None
    sbatch: SbatchOptions = Field(default_factory=dict)


class ClusterSettings(_Settings):
    """Workers, and the small job that drives them. Every worker is one Slurm job on one node."""

    workers: WorkerCount = WorkerCount()
    cpus: PositiveInt = 4
    """CPUs of one worker."""
    gpus: NonNegativeInt = 0
    """GPUs of one worker."""
    memory_gb: PositiveFloat = 16.0
    time: SlurmTime = "04:00:00"
    partition: str | None = None
    account: str | None = None
    sbatch: SbatchOptions = Field(default_factory=dict)
    setup: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Lines of shell before a worker starts: modules, conda, variables."""
    python: str | None = None
    """The command that starts Python on a worker, say ``apptainer exec --nv image.sif python3``; the driver's own when
    left out."""
    environment: Literal["shared", "packed"] = "shared"
    """packed: workers unpack this Python's virtual environment on their own disk first, instead of reading its many
    small files from shared storage."""
    scratch: Annotated[Path, Field(strict=False)] = Path("/tmp")
    """A directory on each node's own disk."""
    interface: str | None = None
    """The driver's network interface that workers reach (``ib0``); the address that Slurm knows when left out."""
    idle_s: PositiveFloat = 60.0
    """A worker without work for this long is handed back."""
    notice_s: Annotated[PositiveInt, Field(le=65535)] = 120  # sbatch's own bound for --signal
    """How long before its time limit a worker is told [s]; what runs there should be able to end in that time."""
    patience_s: PositiveFloat = 600.0
    """How long workers wait for another driver when theirs is gone."""
    driver: JobSettings = JobSettings()

    @property
    def driver_job(self) -> JobSettings:
        """The driver's job, charged to the workers' account unless it has its own."""
        return self.driver.model_copy(update={"account": self.driver.account or self.account})

    @model_validator(mode="after")
    def _time_for_something(self) -> Self:
        for key, time in (("time", self.time), ("driver.time", self.driver.time)):
            if parse_time(time) <= self.notice_s:
                raise ValueError(f"{key} {time} is within notice_s {self.notice_s}")
        return self


def merge(profile: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a sweep's block over a site's profile; blocks within them are merged alike, and lists replaced."""
    merged = dict(profile)
    for key, value in block.items():
        under = merged.get(key)
        merged[key] = merge(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged
