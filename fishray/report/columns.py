"""Aligned columns of text: as wide as their cells, or narrower where one of them can give way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.text import Text

from fishray.report.wording import shorten

GAP = 2
BEST, BASELINE, OVER = "bold green", "cyan", "dim"
"""Styles of a row: the one accent for our best, the one for baselines, and grey for what is over."""


@dataclass(frozen=True)
class Column:
    """A header, and one cell for each row."""

    header: str
    cells: Sequence[str]
    justify: Literal["left", "right"] = "left"
    least: int | None = None
    """Width to which it may shrink, its cells losing their last comma-separated parts; None: it may not."""

    @property
    def natural(self) -> int:
        """Width at which nothing is cut."""
        return max(map(len, (self.header, *self.cells)))

    @property
    def needed(self) -> int:
        """Width below which it is unreadable."""
        return self.natural if self.least is None else min(self.natural, self.least)


def needed_width(columns: Sequence[Column]) -> int:
    """Width below which these columns do not fit, margin included."""
    return 1 + sum(column.needed for column in columns) + GAP * (len(columns) - 1)


def align(
    columns: Sequence[Column],
    width: int,
    styles: Mapping[int, str] | None = None,
    spans: Mapping[int, tuple[int, str]] | None = None,
) -> list[Text]:
    """Lay columns out, header first, in lines no wider than `width`.

    Parameters
    ----------
    columns
        At least one; all with equally many cells.
    width
        Characters of a line.
    styles
        rich style by row.
    spans
        By row, a column and the text that stands from there to the end of the line, in place of the row's cells.
    """
    spare = width - needed_width(columns)
    widths = []
    for column in columns:
        extra = min(max(0, spare), column.natural - column.needed)
        widths.append(column.needed + extra)
        spare -= extra
    lines = [_line([column.header for column in columns], columns, widths, width, "dim")]
    for row in range(len(columns[0].cells)):
        cells = [column.cells[row] for column in columns]
        first, text = (spans or {}).get(row, (len(columns), ""))
        line = _line(cells[:first], columns, widths, width, (styles or {}).get(row, ""))
        if text:
            start = 1 + sum(widths[:first]) + GAP * first
            line.pad_right(max(0, start - len(line)))
            line.append(shorten([text], width - start))
        lines.append(line)
    return lines


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], width: int, style: str) -> Text:
    parts = []
    for cell, column, column_width in zip(cells, columns, widths, strict=False):
        text = shorten(cell.split(", "), column_width) if column.least is not None else cell
        parts.append(text.rjust(column_width) if column.justify == "right" else text.ljust(column_width))
    line = f" {(' ' * GAP).join(parts)}".rstrip()
    return Text(line[:width], style=style, no_wrap=True)
