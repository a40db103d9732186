"""Commands other than Slurm's, whatever becomes of them."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ASK_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Said:
    """What a command said."""

    status: int
    output: str
    errors: str = ""


Ask = Callable[[Sequence[str], float], Said]
"""Runs a command for at most so long [s]."""


def ask(command: Sequence[str], timeout_s: float = ASK_TIMEOUT_S) -> Said:
    """Run a command, whatever becomes of it; 127: it is not there, 124: it took too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except OSError as error:
        return Said(127, "", str(error))
    except subprocess.TimeoutExpired:
        return Said(124, "", f"{command[0]} took more than {timeout_s:.0f} s")
    return Said(done.returncode, done.stdout, done.stderr)
