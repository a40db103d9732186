"""Every error that hpc raises on purpose.

::

    HpcError                  one line for a person: what, where, what to do
    ├── SlurmError            a command of Slurm's that failed, with its own words
    ├── ClusterError          workers that cannot be had, or that fail before they join
    └── ScratchError          a directory for temporary files that cannot be used
"""

import re

PASSING = "unable to contact|timed out|did not answer|sending signal|temporarily|connection refused|zero bytes"
"""What Slurm's commands say when their controller is busy, restarts or cannot be reached (slurm_errno.h)."""


class HpcError(Exception):
    """What went wrong, where, and what to do about it, in one line."""

    exit_status = 2


class SlurmError(HpcError):
    """A command of Slurm's that failed, with its own words."""

    @property
    def is_passing(self) -> bool:
        """Whether its controller did not answer: it may do so later."""
        return bool(re.search(PASSING, str(self), re.IGNORECASE))


class ClusterError(HpcError):
    """Workers that cannot be had, or that fail before they join."""


class ScratchError(HpcError):
    """A directory for temporary files that cannot be used."""
