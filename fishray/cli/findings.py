"""What was found, with what to do about it: how `doctor` and `inspect` show it."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red"}
INDENT = len("  failure  ")


def print_findings(findings: Sequence[tuple[str, str, str | None]], console: "Console") -> None:
    """Show findings: level, text, and a remedy that goes behind an arrow.

    On a terminal a finding has as many lines as it needs, in a log one.
    """
    from rich.text import Text

    for level, text, remedy_text in findings:
        remedy = f"→ {remedy_text}" if remedy_text else ""
        whole = f"{text} {remedy}".rstrip()
        room = max(20, console.width - INDENT)
        lines = [whole]
        if console.is_terminal and len(whole) > room:
            lines = [*_wrapped(text, room), *_wrapped(remedy, room, "  ")]
        first = (f"  {level:<7}  ", STYLES[level])
        for line in lines:
            console.print(Text.assemble(first, line), soft_wrap=True)
            first = (" " * INDENT, "")


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
