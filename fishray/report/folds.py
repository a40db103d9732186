"""What a ranking says of folds: how a score varies from recording to recording."""

from statistics import stdev
from textwrap import wrap

from rich.text import Text

from fishray.report.columns import BASELINE, BEST, OVER, Column, align, needed_width
from fishray.report.ranking import Ranking, Row
from fishray.report.wording import METRIC_NAMES, PERSISTENCE, shorten, signed

LEADERS = 3
"""Trials that are shown by fold where none has test scores."""

TITLE_WIDTH = 16


def mean_and_spread(row: Row, digits: int = 3) -> str:
    """Write the mean over folds with their standard deviation: 0.842 ± 0.031; without folds, the score alone."""
    spread = f" ± {stdev(row.folds):.{digits}f}" if len(row.folds) > 1 else ""
    return "–" if row.validation is None else f"{row.validation:.{digits}f}{spread}"


def fold_table(ranking: Ranking, width: int) -> list[Text]:
    """Leaders and baselines in each fold, as many folds as fit; empty where there are none."""
    rows = [row for row in ranking.rows if row.folds and _is_shown(row)]
    persistence = next((row.folds for row in ranking.rows if row.predictor == PERSISTENCE), ())
    if not ranking.folds or not rows:
        return []
    columns = [
        Column(f"{METRIC_NAMES[ranking.metric]} by fold", [row.predictor for row in rows]),
        Column(f"over {PERSISTENCE}", [_over(row, persistence) for row in rows]),
    ]
    for index, title in enumerate(ranking.folds):
        cells = [f"{row.folds[index]:.3f}" for row in rows]
        columns.append(Column(shorten(title.split(", "), TITLE_WIDTH), cells, "right"))
    left_out = 0
    while needed_width(columns) > width and len(columns) > 2:
        columns.pop()
        left_out += 1
    styles = {index: BASELINE if row.kind == "baseline" else _style(row) for index, row in enumerate(rows)}
    words = "a column is what was held out, a ± the standard deviation over folds"
    if ranking.test:
        words += "; on test, the mean of the folds' probabilities"
    if left_out:
        words = f"{left_out} more: --csv; {words}"
    return [*align(columns, width, styles), *(Text(line, style=OVER) for line in _wrapped(f"({words})", width))]


def _is_shown(row: Row) -> bool:
    return row.kind == "baseline" or bool(row.test) or (row.rank or LEADERS + 1) <= LEADERS


def _style(row: Row) -> str:
    return BEST if row.rank == 1 else ""


def _over(row: Row, persistence: tuple[float, ...]) -> str:
    """Mean difference, and in how many folds it is above: who leads in one recording alone has not learnt much."""
    if row.predictor == PERSISTENCE:
        return "reference"
    if len(persistence) != len(row.folds):
        return ""
    differences = [own - other for own, other in zip(row.folds, persistence, strict=True)]
    above = sum(difference > 0 for difference in differences)
    return f"{signed(sum(differences) / len(differences))}, above in {above} of {len(differences)}"


def _wrapped(text: str, width: int) -> list[str]:
    return [f" {line}" for line in wrap(text, max(20, width - 1), break_long_words=False, break_on_hyphens=False)]
