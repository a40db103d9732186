"""Times as Slurm writes them."""

import re
from datetime import datetime

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


def parse_time(text: str) -> float:
    """Seconds of a time limit (sbatch's manual page, ``--time``).

    Raises
    ------
    ValueError
        If it is none of MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS; Slurm's words for no limit give infinity.
    """
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return float("inf")
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r}: must be a time as Slurm writes it, like 04:00:00 or 1-12:00:00")
    days, *parts = match.groups()
    first, second, third = (int(part or 0) for part in parts)
    if days is not None or parts[2] is not None:
        hours, minutes, seconds = first, second, third
    else:
        hours, minutes, seconds = 0, first, second
    return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)


def parse_moment(text: str) -> float:
    """A date and time of Slurm's [s since 1970], in this machine's time zone; infinity where it names none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return float("inf")
