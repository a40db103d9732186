"""Every error that hpc raises on purpose.

::

    HpcError                  one line for a person: what, where, what to do
    ├── SlurmError            a command of Slurm's that failed, with its own words
    ├── ClusterError          workers that cannot be had, or that fail before they join
    └── ScratchError          a directory for temporary files that cannot be used
"""


class HpcError(Exception):
    """What went wrong, where, and what to do about it, in one line."""

    exit_status = 2


class SlurmError(HpcError):
    """A command of Slurm's that failed, with its own words."""


class ClusterError(HpcError):
    """Workers that cannot be had, or that fail before they join."""


class ScratchError(HpcError):
    """A directory for temporary files that cannot be used."""
