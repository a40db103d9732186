"""Commands on recordings: simulate, ingest, inspect."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fishray.cli.ingesting import ingest
from fishray.cli.inspecting import inspect
from fishray.cli.options import numbers
from fishray.errors import SettingError

if TYPE_CHECKING:
    from fishray.config.tank import TankSettings


class Shape(StrEnum):
    """Of a simulated tank."""

    rectangle = "rectangle"
    round = "round"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (simulate, ingest, inspect):
        app.command()(command)


def simulate(
    out: Annotated[Path, typer.Argument(help="The video to write.", metavar="OUT.mp4")],
    minutes: Annotated[float, typer.Option(help="Length of the recording.", min=0.05)] = 8.0,
    fish: Annotated[int, typer.Option(help="Number of fish.", min=2)] = 6,
    seed: Annotated[int, typer.Option(help="Another seed, another tank.", min=0)] = 0,
    fps: Annotated[int, typer.Option(help="Frames per second; the fish swim the same at any rate.", min=1)] = 30,
    size: Annotated[str, typer.Option(help="Frame size, even.", metavar="HEIGHTxWIDTH")] = "240x320",
    arena: Annotated[Shape, typer.Option(help="The whole picture, or the largest circle in it.")] = Shape.rectangle,
    body_lengths: Annotated[
        float, typer.Option(help="Height of the picture in body lengths: more is a larger tank.", min=4)
    ] = 8.0,
    noise: Annotated[float, typer.Option(help="Sensor noise on the fish [grey levels].", min=0)] = 2.0,
    display: Annotated[
        float, typer.Option(help="How much space tells: share of chases that a display announces.", min=0, max=1)
    ] = 0.9,
    display_s: Annotated[
        float, typer.Option(help="How long before: mean length of a display in seconds.", min=0.1)
    ] = 0.9,
    encounters: Annotated[
        float, typer.Option(help="How often two fish quarrel that are near each other [1/s].", min=0.01)
    ] = 2.0,
    alarm: Annotated[
        float, typer.Option(help="How much more vigorously all swim as a chase begins, as a share.", min=0)
    ] = 2.0,
) -> None:
    """Film a simulated tank of fish.

    They school, display, chase and burst; OUT.events.csv beside the video holds their true events.

    \b
      fishray simulate tank.mp4 --minutes 8 --seed 3
      fishray simulate tank.mp4 --arena round --body-lengths 12 --display 0
    """
    from fishray.cli.progress import frame_progress
    from fishray.simulate import simulate as simulate_tank

    height, width = numbers("--size", size, "x", 2, "HEIGHTxWIDTH, for example 240x320")
    settings = _tank(
        minutes=minutes,
        fish=fish,
        seed=seed,
        fps=fps,
        height=height,
        width=width,
        arena=arena.value,
        body_lengths=body_lengths,
        noise=noise,
        display=display,
        display_s=display_s,
        encounters=encounters,
        alarm=alarm,
    )
    with frame_progress() as progress:
        simulate_tank(out, settings, lambda done, total: progress("simulating a tank", done, total))
    words = ["fishray", "ingest", str(out), "--store", str(out.with_suffix(".zarr"))]
    typer.echo(f"Next: {shlex.join(words)}")


def _tank(**options: Any) -> "TankSettings":
    """Settings of a tank; one that cannot be is the user's to mend."""
    from pydantic import ValidationError

    from fishray.config.sweep import plain_words
    from fishray.config.tank import TankSettings

    try:
        return TankSettings(**options)
    except ValidationError as error:
        fault = error.errors()[0]
        of_one = f"{fault['loc'][0]} {fault['input']} " if fault["loc"] else ""
        raise SettingError(f"no such tank: {of_one}{plain_words(fault['msg'])}") from error
