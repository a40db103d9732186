"""How numbers, settings and durations are written for people; the same words in every view."""

from collections.abc import Mapping, Sequence
from typing import Any

METRIC_NAMES = {
    "validation_auc": "validation AUC",
    "validation_average_precision": "validation average precision",
    "validation_youden_j": "validation Youden's J",
}

PERSISTENCE = "persistence"
"""The baseline that every other predictor is held against."""

FIRST_SETTINGS = ("cell", "filters", "hidden", "layers", "learning_rate", "augment", "class_weight", "batch_size")
"""What tells trials apart best, in this order; other settings follow. Where space ends, the last ones are left out."""

MINUS = "\N{MINUS SIGN}"


def signed(value: float) -> str:
    """Write a difference with three digits and its sign: +0.024."""
    return f"{value:+.3f}".replace("-", MINUS)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: 1 trial, 1,204 trials."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def clock(seconds: float) -> str:
    """Elapsed time as hours, minutes and seconds: 00:02:41."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def rough_time(seconds: float) -> str:
    """Write a time that is only an estimate, in no more digits than it deserves: 40 s, 2 min, 3.5 h, 2 days."""
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 100 * 60:
        return f"{max(1, round(seconds / 60))} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def footage(seconds: float) -> str:
    """Write the length of recordings: 8:00 min, 2:05:00 h."""
    minutes, second = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{second:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d} h"


def cpu_time(hours: float, *others: float) -> list[str]:
    """Write CPU time in one unit, that of the first: 0.9 CPU-hours, then 2.7."""
    factor, unit = (1, "hours") if hours >= 0.95 else (60, "minutes") if hours * 60 >= 1.5 else (3600, "seconds")
    numbers = [value * factor for value in (hours, *others)]
    written = [f"{value:.1f}" if value < 10 and unit != "seconds" else f"{value:,.0f}" for value in numbers]
    return [f"{written[0]} CPU-{unit}", *written[1:]]


def stop_reason(status: str, reason: str) -> str:
    """Say what became of a trial, in one line: its status, and the reason where that says more."""
    first_line = reason.strip().splitlines()[0] if reason.strip() else ""
    if not first_line:
        return status
    return first_line if first_line.lower().startswith(status) else f"{status}: {first_line}"


def settings_text(settings: Mapping[str, Any], width: int | None = None) -> str:
    """Write settings as people say them, the most telling first: 8 filters, lr 4.0e-3, flips.

    Parameters
    ----------
    settings
        Values by name.
    width
        Characters to stay within; settings that do not fit are left out, with a mark.
    """
    named = [name for name in FIRST_SETTINGS if name in settings]
    named += [name for name in settings if name not in FIRST_SETTINGS]
    return shorten([_setting(name, settings[name]) for name in named], width)


def shorten(parts: Sequence[str], width: int | None, separator: str = ", ") -> str:
    """Join parts, leaving out the last ones where they do not fit, with a mark."""
    whole = separator.join(parts)
    if width is None or len(whole) <= width:
        return whole
    for count in range(len(parts) - 1, 0, -1):
        if len(text := f"{separator.join(parts[:count])}{separator}…") <= width:
            return text
    return f"{whole[: max(0, width - 1)]}…"


def pack(parts: Sequence[str], width: int, separator: str = " · ", indent: str = "   ") -> list[str]:
    """Fill lines with parts, never breaking one that fits a line."""
    lines: list[str] = []
    for part in parts:
        if lines and len(joined := lines[-1] + separator + part) <= width:
            lines[-1] = joined
        else:
            lines.append(indent + part if lines else part)
    return lines


def _setting(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        value = "+".join(map(str, value))
    match name:
        case "learning_rate":
            return f"lr {_exponential(value)}"
        case "filters":
            return f"{value} filters"
        case "layers":
            return plural(value, "layer")
        case "cell":
            return str(value)
        case "augment":
            return "no augment" if value == "none" else str(value)
    short = {"class_weight": "cw", "batch_size": "batch", "weight_decay": "decay"}.get(name, name.replace("_", " "))
    if isinstance(value, bool):
        return short if value else f"no {short}"
    if isinstance(value, float):
        return f"{short} {f'{value:.2g}' if value == 0 or 0.01 <= abs(value) < 1000 else _exponential(value)}"
    return f"{short} {value}"


def _exponential(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
