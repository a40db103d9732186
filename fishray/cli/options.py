"""What several commands read from their options."""

import re
from typing import overload

import typer


@overload
def numbers(option: str, text: str, separator: str, count: int, form: str) -> tuple[float, ...]: ...


@overload
def numbers(option: str, text: None, separator: str, count: int, form: str) -> None: ...


def numbers(option: str, text: str | None, separator: str, count: int, form: str) -> tuple[float, ...] | None:
    """Read numbers from an option, whole ones as integers."""
    if text is None:
        return None
    parts = [part.strip() for part in text.lower().split(separator)]
    if len(parts) != count or not all(re.fullmatch(r"\d+(\.\d+)?", part) for part in parts):
        raise typer.BadParameter(f"{text!r}: write {form}", param_hint=option)
    return tuple(int(part) if part.isdecimal() else float(part) for part in parts)
