"""Commands on recordings: simulate, ingest, inspect."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fishray.cli.ingesting import ingest

LOW_FRACTION = 0.1


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (simulate, ingest, inspect):
        app.command()(command)


def simulate(
    out: Annotated[Path, typer.Argument(help="The video to write.", metavar="OUT.mp4")],
    minutes: Annotated[float, typer.Option(help="Length of the recording.", min=0.05)] = 8.0,
    fish: Annotated[int, typer.Option(help="Number of fish.", min=2)] = 6,
    seed: Annotated[int, typer.Option(help="Another seed, another tank.", min=0)] = 0,
) -> None:
    """Film a simulated tank of fish.

    They school, display, chase and burst; OUT.events.csv beside the video holds their true events.

    \b
      fishray simulate tank.mp4 --minutes 8 --seed 3
    """
    from fishray.cli.progress import frame_progress
    from fishray.config.tank import TankSettings
    from fishray.simulate import simulate as simulate_tank

    with frame_progress() as progress:
        simulate_tank(
            out,
            TankSettings(minutes=minutes, fish=fish, seed=seed),
            lambda done, total: progress("simulating a tank", done, total),
        )
    words = ["fishray", "ingest", str(out), "--store", str(out.with_suffix(".zarr"))]
    typer.echo(f"Next: {shlex.join(words)}")


def inspect(
    store: Annotated[Path, typer.Argument(help="The zarr store.", metavar="STORE.zarr")],
    horizon: Annotated[int, typer.Option(help="Look-ahead of the label rule, in frames.", min=1)] = 45,
    range_threshold: Annotated[float, typer.Option(help="Least range of speed within the horizon.")] = 0.001,
) -> None:
    """Say what a store holds.

    For each recording: frames, length, size, speed, and what share of its frames the label rule calls positive. Choose
    range_threshold so that neither class is rare; a sweep takes it from the train split with range_threshold: auto.
    """
    from rich.console import Console

    from fishray.cli.printing import print_inspection
    from fishray.signals.quality import inspect_store
    from fishray.store import open_store

    facts = inspect_store(open_store(store), horizon, LOW_FRACTION, range_threshold)
    rule = f"horizon {horizon} frames, range_threshold {range_threshold:g}"
    print_inspection(facts, str(store), rule, Console())
