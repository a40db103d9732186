"""What a dry run says of the cost of a sweep, by models that it has trained for a moment."""

import shlex
import time
from typing import TYPE_CHECKING

from fishray.cli.printing import say
from fishray.report.wording import cpu_time, plural, rough_time

if TYPE_CHECKING:
    from rich.console import Console

    from fishray.tuning.forecast import Forecast, Range
    from fishray.tuning.preparation import Prepared

SECONDS = 0.5
"""Of training, for each model."""


def print_forecast(prepared: "Prepared", console: "Console") -> None:
    """Train each family's smallest and largest model for a moment, and show what the sweep will cost."""
    from fishray.sequences import valid_labels
    from fishray.tuning.forecast import forecast
    from fishray.tuning.probing import models_of, probe

    began_s = time.monotonic()
    models = models_of(prepared)
    probed = probe(prepared, models, SECONDS, None, lambda _: None)
    valid_frames = len(valid_labels(prepared.sequences.validation))
    found = forecast(prepared.sweep, prepared.node, models, probed, valid_frames)
    say(console, "")
    for line in forecast_lines(found, bool(prepared.node.gpu_names)):
        say(console, line)
    took = rough_time(time.monotonic() - began_s)
    say(console, f" measured on              {plural(len(probed), 'model')}, here, in {took}; closer: fishray bench")


def no_forecast(sweep: str) -> str:
    """Why there is none where workers train."""
    there = shlex.join(["fishray", "bench", sweep])
    return f" forecast       none, as nothing is trained on this node; on a compute node: {there}"


def forecast_lines(found: "Forecast", has_gpus: bool) -> list[str]:
    """What a sweep will cost, in words."""
    low, high = cpu_time(found.cpu_hours.high, found.cpu_hours.low)[::-1]
    full = cpu_time(found.full_cpu_hours.high)[0]
    gpu = f" · {found.gpu_hours.low:.2g} to {found.gpu_hours.high:.2g} GPU-hours" if has_gpus else ""
    return [
        f" forecast                 {_between_times(found.wall_s)} · {low} to {high}{gpu}",
        f"                          (every trial to the last epoch: up to {full})",
        f" disk                     {_megabytes(found.disk_bytes)}, {_between(found.files)} files and folders",
    ]


def _between_times(wall_s: "Range") -> str:
    low, high = rough_time(wall_s.low), rough_time(wall_s.high)
    return low if low == high else f"{low} to {high}"


def _between(count: "Range") -> str:
    return f"{count.low:,.0f}" if count.low == count.high else f"{count.low:,.0f} to {count.high:,.0f}"


def _megabytes(size: "Range") -> str:
    low, high = (f"{max(0.1, value / 1e6):,.1f}" for value in (size.low, size.high))
    return f"{low} MB" if low == high else f"{low} to {high} MB"
