"""What was measured, as a table and as JSON, and on which machine."""

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from measuring import Figure, Goal, Row
from rich.table import Table

PACKAGES = ("torch", "numpy", "zarr", "av", "pillow", "ray")
SENSES = {">=": "≥", "<=": "≤", "<": "<"}


def table(rows: Iterable[Row], machine: dict[str, Any]) -> Table:
    """One line for each row; medians, with half the range of the rounds behind them."""
    made = Table(title=f"{machine['cpu']}, {machine['cores']} cores; commit {machine['commit']}", title_justify="left")
    made.add_column("what")
    for name in ("ours", "peer", "ratio", "limit", "goal"):
        made.add_column(name, justify="right")
    made.add_column("holds")
    for row in rows:
        peer = "" if row.peer is None else f"{_figure(row.peer)}\n{row.against}"
        made.add_row(
            row.what,
            f"{_figure(row.ours)}\n{row.unit}",
            "" if row.is_limit else peer,
            "" if row.ratio is None else f"{_figure(row.ratio)}",
            peer if row.is_limit else "",
            _goal(row.goal),
            {True: "yes", False: "[bold red]NO[/]", None: ""}[row.holds],
            end_section=True,
        )
    return made


def as_markdown(rows: Iterable[Row], machine: dict[str, Any]) -> str:
    """The same lines for a page, medians alone."""
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", *PACKAGES) if name in machine)
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB; {versions}; "
        f"commit {machine['commit']}.",
        "",
        "| what | fishray | beside | ratio | goal | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        beside = "" if row.peer is None else f"{_number(row.peer.median)}, {row.against}"
        ratio = "" if row.ratio is None else _number(row.ratio.median)
        goal = "" if row.goal is None else f"{SENSES[row.goal.sense]} {row.goal.bound:g}"
        held = {True: "holds", False: "**missed**", None: ""}[row.holds]
        lines.append(f"| {row.what} | {_number(row.ours.median)} {row.unit} | {beside} | {ratio} | {goal} | {held} |")
    return "\n".join([*lines, ""])


def agreements(rows: Iterable[Row]) -> list[str]:
    """How ours and the peers agree, each said once."""
    return [*dict.fromkeys(f"{row.what}: {row.agreement}" for row in rows if row.agreement)]


def as_json(rows: Sequence[Row], machine: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Everything, as plain values."""
    return {"machine": machine, "rounds": rounds, "rows": [_row(row) for row in rows]}


def describe_machine() -> dict[str, Any]:
    """Its processor, memory and software, and the commit that runs on it."""
    return {
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def _row(row: Row) -> dict[str, Any]:
    goal = row.goal and {"sense": row.goal.sense, "bound": row.goal.bound}
    figures = {"ours": row.ours, "peer": row.peer, "ratio": row.ratio}
    return {
        "what": row.what, "unit": row.unit, "against": row.against, "is_limit": row.is_limit, "goal": goal,
        "holds": row.holds, "agreement": row.agreement,
        **{name: figure and {"median": figure.median, "values": figure.values} for name, figure in figures.items()},
    }  # fmt: skip


def _figure(figure: Figure) -> str:
    spread = f" ±{figure.spread:.0%}" if len(figure.values) > 1 else ""
    return f"{_number(figure.median)}{spread}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _goal(goal: Goal | None) -> str:
    return "" if goal is None else f"{goal.sense} {goal.bound:g}"


def _commit() -> str:
    """What git calls the code of this file; ends in -dirty where that was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
