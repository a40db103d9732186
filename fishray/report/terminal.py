"""A ranking on the terminal, in a log file, or as JSON and CSV for other programs."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.text import Text

from fishray.evaluation.bootstrap import Estimate
from fishray.report.columns import BASELINE, BEST, OVER, Column, align, needed_width
from fishray.report.folds import fold_table, mean_and_spread
from fishray.report.ranking import Published, Ranking, Row
from fishray.report.wording import PERSISTENCE, cpu_time, pack, plural, settings_text, signed, stop_reason

ROWS = 12
"""Rows shown unless all are asked for."""

LEAST_SETTINGS = 23
"""Room for the two settings that tell most: hidden 32, lr 1.2e-2, …"""

NOTES = {"refitted algorithm": "5 numbers, from train", "published algorithm": "5 numbers"}
NONE = "–"


def print_report(ranking: Ranking, console: Console, *, show_all: bool = False) -> None:
    """Print a ranking for a person: the table, the verdict, the published table, and what to type next.

    Parameters
    ----------
    ranking
        From `rank`.
    console
        Its width decides which columns are there; without a terminal the text is plain.
    show_all
        Every row, rather than the first ones, the baselines and the leaders.
    """
    width = console.width
    for line in _report(ranking, width, show_all):
        console.print(line, highlight=False, no_wrap=True, overflow="ignore", crop=False)


def print_json(ranking: Ranking, console: Console) -> None:
    """Print every number as one JSON object."""
    console.out(json.dumps(ranking.as_dict(), indent=2, allow_nan=False, ensure_ascii=False), highlight=False)


def print_csv(ranking: Ranking, console: Console) -> None:
    """Print the ranking as CSV, one row for each predictor; a setting that a family does not vary is left empty."""
    records = [_csv_record(row, ranking) for row in ranking.rows]
    fields = sorted(dict.fromkeys(name for record in records for name in record), key=_is_setting)
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    console.out(text.getvalue(), highlight=False, end="")


def _report(ranking: Ranking, width: int, show_all: bool) -> Iterator[Text]:
    for line in pack(_facts(ranking), width):
        yield Text(line, style="bold" if line.startswith(ranking.name) else "")
    yield from _table(ranking, width, show_all)
    if folds := fold_table(ranking, width):
        yield Text()
        yield from folds
    yield Text()
    yield from _verdict(ranking, width)
    for warning in ranking.warnings:
        yield from _hanging("Note: ", f"{warning}.", width, "yellow")
    if differences := _differences_table(ranking, width):
        yield Text()
        yield from differences
    if ranking.published:
        yield Text()
        yield from _published_table(ranking, width)
    yield Text()
    for line in pack(_next(ranking), width - 6, indent=""):
        yield Text(f"{'Next: ' if line.startswith(_next(ranking)[0]) else '      '}{line}")


def _next(ranking: Ranking) -> list[str]:
    commands = [f"fishray report {ranking.run} {option}" for option in ("--json", "--csv")]
    if ranking.status in ("starting", "running", "scoring"):
        commands.insert(0, f"fishray status {ranking.run}")
    failed = next((row.predictor for row in ranking.rows if row.status == "failed"), None)
    if failed:
        commands.insert(0, f"fishray status {ranking.run} --trial {failed}")
    if ranking.best:
        commands.append(f"fishray predict {ranking.run} STORE --out p.csv")
    return commands


def _facts(ranking: Ranking) -> list[str]:
    when = datetime.fromtimestamp(ranking.updated_s).astimezone()
    shown = sum(row.kind == "trial" for row in ranking.rows)
    trials = plural(ranking.trials, "trial") if shown == ranking.trials else f"{shown} of {ranking.trials:,} trials"
    spent, full = cpu_time(ranking.cost.cpu_hours, ranking.cost.full_cpu_hours)
    saved = ranking.cost.full_cpu_hours > 1.05 * ranking.cost.cpu_hours
    return [
        ranking.name,
        f"{ranking.status} {when:%Y-%m-%d %H:%M}",
        f"seed {ranking.seed}",
        *([plural(len(ranking.folds), "fold")] if ranking.folds else []),
        f"{trials}, {spent}" + (f" (full training would have been {full})" if saved else ""),
        f"data {_short(ranking.fingerprint)}",
    ]


def _short(fingerprint: str) -> str:
    return fingerprint if len(fingerprint) <= 8 else f"{fingerprint[:4]}…{fingerprint[-2:]}"


def _table(ranking: Ranking, width: int, show_all: bool) -> Iterator[Text]:
    rows = ranking.rows if show_all else _chosen(ranking.rows)
    columns = _columns(rows, ranking, width)
    styles = {index: _style(row) for index, row in enumerate(rows)}
    spans = {index: (2, _failure(row)) for index, row in enumerate(rows) if row.status == "failed"}
    yield from align(columns, width, styles, spans)
    if hidden := len(ranking.rows) - len(rows):
        yield Text(f"    …  {hidden} more: --all", style=OVER)


def _chosen(rows: Sequence[Row]) -> list[Row]:
    """Choose the first trials, every baseline and every predictor with test scores, in their order."""
    must = {row.predictor for row in rows if row.kind == "baseline" or row.test}
    others = [row.predictor for row in rows if row.predictor not in must]
    must.update(others[: max(0, ROWS - len(must))])
    return [row for row in rows if row.predictor in must]


def _columns(rows: Sequence[Row], ranking: Ranking, width: int) -> list[Column]:
    """Choose the fullest set that fits: names and settings shorten first, then epochs go, settings, test scores."""
    for compact in (False, True):
        short = {"validation_auc": "", "validation_average_precision": " AP", "validation_youden_j": " J"}
        heading = ("val." if compact else "validation") + short[ranking.metric]
        fixed = [
            Column("rank", [NONE if row.rank is None else str(row.rank) for row in rows], "right"),
            Column("predictor", [_name(row, compact) for row in rows]),
        ]
        settings = Column("settings", [_settings(row) for row in rows], least=LEAST_SETTINGS if compact else None)
        epochs = Column("epochs", [_epochs(row) for row in rows])
        validation = Column(heading, [mean_and_spread(row) for row in rows], "right")
        test, over = _test_columns(rows, stopped=False) if ranking.test else ([], [])
        stopped = _test_columns(rows, stopped=True)[0] if ranking.test else [epochs]
        layouts = [[*fixed, settings, epochs, validation, *test, *over]]
        if compact:
            layouts += [
                [*fixed, settings, validation, *stopped, *over],
                [*fixed, validation, *stopped, *over],
                [*fixed, validation, *over],
            ]
        for columns in layouts:
            if needed_width(columns) <= width:
                return columns
    return columns


def _test_columns(rows: Sequence[Row], *, stopped: bool) -> tuple[list[Column], list[Column]]:
    """Test scores; where there is none, why not, if no other column tells."""
    test = [_estimate(row.test) if row.test else _stopped(row) if stopped else NONE for row in rows]
    over = ["reference" if row.predictor == PERSISTENCE else _difference(row.over.get(PERSISTENCE)) for row in rows]
    return [Column("test AUC [95 %]", test)], [Column(f"over {PERSISTENCE}", over)]


def _name(row: Row, compact: bool) -> str:
    return row.predictor.removesuffix(" algorithm") if compact else row.predictor


def _settings(row: Row) -> str:
    if row.kind == "baseline":
        return NOTES.get(row.predictor, NONE)
    collapsed = "collapsed" if row.collapsed else ""
    model = "" if row.family == row.model else row.model
    return ", ".join(filter(None, (collapsed, model, settings_text(row.settings)))) or NONE


def _epochs(row: Row) -> str:
    if row.kind == "baseline":
        return NONE
    if row.status == "finished":
        return f"{row.epochs}/{row.max_epochs}"
    if row.status == "stopped":
        return f"{row.epochs} (rung)"
    return f"{row.epochs} ({row.status})" if row.epochs else row.status


def _stopped(row: Row) -> str:
    if row.kind == "baseline":
        return NONE
    if row.collapsed:
        return f"{NONE} collapsed"
    if row.status == "finished":
        return f"{NONE} {row.epochs}/{row.max_epochs} epochs"
    return f"{NONE} {row.status} at {row.epochs}/{row.max_epochs}" if row.epochs else f"{NONE} {row.status}"


def _failure(row: Row) -> str:
    after = f"after {plural(row.epochs, 'epoch')}, " if row.epochs else ""
    return f"{after}{stop_reason('failed', row.reason)}"


def _style(row: Row) -> str:
    if row.kind == "baseline":
        return BASELINE
    if row.rank == 1:
        return BEST
    return "" if row.test or row.status in ("running", "waiting") else OVER


def _verdict(ranking: Ranking, width: int) -> Iterator[Text]:
    if ranking.no_verdict:
        yield from _hanging("No verdict: ", f"{ranking.no_verdict}.", width)
    heading = "Verdict: "
    for verdict in ranking.verdicts:
        style = BEST if verdict.outcome == "better" else ""
        yield from _hanging(heading, f"{verdict.predictor} {verdict.text}", width, style)
        heading = " " * len(heading)


def _hanging(heading: str, text: str, width: int, style: str = "") -> Iterator[Text]:
    for line in wrap(text, max(20, width - len(heading)), break_long_words=False, break_on_hyphens=False):
        yield Text.assemble(heading, (line, style))
        heading = " " * len(heading)


def _differences_table(ranking: Ranking, width: int) -> list[Text]:
    """Leaders against the baselines that the ranking has no column for; those that do not fit are left out."""
    leaders = [row for row in ranking.rows if row.kind == "trial" and row.over]
    others = [name for row in leaders[:1] for name in row.over if name != PERSISTENCE]
    columns = [Column("test AUC of", [row.predictor for row in leaders])]
    for name in others:
        columns.append(Column(f"over {name}", [_difference(row.over[name]) for row in leaders]))
    while needed_width(columns) > width:
        columns.pop()
    return align(columns, width) if len(columns) > 1 else []


def _published_table(ranking: Ranking, width: int) -> Iterator[Text]:
    labels = ("ROC-AUC", "max accuracy, threshold", "max Youden's J, threshold", "TPR at both", "FPR at both")
    for suffix in ("", " algorithm"):
        columns = [Column("on test", labels)]
        columns += [
            Column(column.predictor.removesuffix(suffix), _published_cells(column), "right")
            for column in ranking.published
        ]
        if needed_width(columns) <= width:
            break
    yield from align(columns, width)
    if ranking.test:
        yield Text(f" (calling no frame positive has accuracy {1 - ranking.test.positives:.3f})", style=OVER)


def _published_cells(column: Published) -> list[str]:
    accuracy, youden_j = column.accuracy, column.youden_j
    return [
        f"{column.auc:.2f}",
        f"{accuracy.value:.3f}, {accuracy.threshold:.2f}",
        f"{youden_j.value:.3f}, {youden_j.threshold:.2f}",
        f"{accuracy.tpr:.2f}, {youden_j.tpr:.2f}",
        f"{accuracy.fpr:.2f}, {youden_j.fpr:.2f}",
    ]


def _estimate(estimate: Estimate) -> str:
    interval = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{interval}"


def _difference(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return signed(estimate.value)
    return f"{signed(estimate.value)} [{signed(estimate.low)}, {signed(estimate.high)}]"


def _csv_record(row: Row, ranking: Ranking) -> dict[str, Any]:
    record: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("rank", "predictor", "kind", "model", "family", "epochs", "max_epochs", "status")
    }
    record |= {"reason": " ".join(row.reason.split()), ranking.metric: row.validation}
    record |= {f"fold.{title}": value for title, value in zip(ranking.folds, row.folds, strict=False)}
    record |= {"best_epoch": row.best_epoch, "collapsed": row.collapsed}
    record |= _csv_estimate("test_auc", row.test)
    for baseline, difference in row.over.items():
        record |= _csv_estimate(f"over_{baseline.replace(' ', '_')}", difference)
    return record | {f"setting.{name}": value for name, value in row.settings.items()}


def _is_setting(field: str) -> bool:
    return field.startswith("setting.")


def _csv_estimate(name: str, estimate: Estimate | None) -> dict[str, Any]:
    value, low, high = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
