"""Commands on recordings: simulate, ingest, inspect."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fishray.cli.ingesting import ingest
from fishray.cli.inspecting import inspect


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
