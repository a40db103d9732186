"""Tables of the commands that have no view of their own."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from fishray.report.live import sparkline
from fishray.report.wording import footage
from fishray.signals.quality import RecordingFacts
from fishray.tuning.plan import Plan


def print_inspection(facts: Sequence[RecordingFacts], store: str, rule: str, console: Console) -> None:
    """Show what a store holds."""
    table = _table(
        "recording", "frames", "length", "fps", "size", "disk", "speed", "median", "95 %", "positive", "events"
    )
    for each in facts:
        size = "speed alone" if each.frame_size is None else "{}x{}".format(*each.frame_size)
        positives = "–" if each.positives is None else f"{each.positives:.1%}"
        table.add_row(
            each.name, f"{each.frame_count:,}", footage(each.duration_s), f"{each.fps:g}", size,
            f"{each.disk_bytes / 1e6:.1f} MB", sparkline(each.speed_curve), f"{each.speed_quantiles[1]:.1e}",
            f"{each.speed_quantiles[2]:.1e}", positives, f"{each.events:,}",
        )  # fmt: skip
    console.print(f"{store} · labels by {rule}", highlight=False)
    console.print(table)
    console.print(f"Next: fishray tune sweeps/video.yaml --set data.store={store}", highlight=False)


def print_plan(plan: Plan, console: Console) -> None:
    """Show what a sweep would run."""
    sweep, node = plan.sweep, plan.node
    gpus = f"{len(node.gpu_names)} x {node.gpu_names[0]}" if node.gpu_names else "no GPU"
    data = ", ".join(f"{split} {frames:,} ({share:.1%})" for split, (frames, share) in plan.valid_frames.items())
    rungs = " → ".join(map(str, sweep.search.rungs))
    console.print(
        f"{sweep.name} · seed {sweep.seed} · {node.cpus} CPUs, {gpus} · data {plan.fingerprint[:8]}", highlight=False
    )
    console.print(f"recordings: {', '.join(plan.recordings)}", highlight=False)
    console.print(f"valid frames (positive): {data}", highlight=False)
    console.print(f"rungs: {rungs} epochs, by {sweep.search.metric}", highlight=False)
    table = _table("family", "model", "trials", "weights", "steps per epoch", "CPUs", "GPUs", "at once")
    for family in plan.families:
        table.add_row(
            family.name, family.model, str(family.trials), _between(*family.parameters),
            _between(*family.steps_per_epoch), str(family.cpus), f"{family.gpus:g}", str(family.at_once),
        )  # fmt: skip
    console.print(table)
    console.print("Nothing was started. Leave out --dry-run to run it.", highlight=False)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _between(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
