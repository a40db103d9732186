"""Commands on recordings: simulate, ingest, inspect."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fishray.errors import SettingError

if TYPE_CHECKING:
    from fishray.config.tank import TankSettings

StorePath = Annotated[
    Path, typer.Option("--store", help="The zarr store; made if it is missing.", metavar="STORE.zarr")
]

LOW_FRACTION = 0.1


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
) -> None:
    """Film a simulated tank of fish.

    They school, display, chase and burst; OUT.events.csv beside the video holds their true events.

    \b
      fishray simulate tank.mp4 --minutes 8 --seed 3
      fishray simulate tank.mp4 --arena round --body-lengths 12 --display 0
    """
    from fishray.cli.progress import frame_progress
    from fishray.simulate import simulate as simulate_tank

    height, width = _parse_size(size) or (240, 320)
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
        raise SettingError(
            f"no such tank: {of_one}{plain_words(fault['msg']).removeprefix('Value error, ')}"
        ) from error


def ingest(
    source: Annotated[
        Path, typer.Argument(help="A video, a folder of images, or a speed series (.npy, .csv).", metavar="SOURCE")
    ],
    store: StorePath,
    name: Annotated[str | None, typer.Option(help="Name of the recording; the source's by default.")] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Stored frame size; by default the shorter side gets 120 pixels.", metavar="HEIGHTxWIDTH"),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frame rate, where the source does not tell or is wrong.", min=0.001)
    ] = None,
    drop_placeholder: Annotated[
        bool, typer.Option("--drop-placeholder", help="Drop the 0 that published speed series carry at their end.")
    ] = False,
) -> None:
    """Chunk a recording into a zarr store.

    The store gets its frames, made smaller by area averaging, and its speed at the source's own resolution. A store may
    hold many recordings.

    \b
      fishray ingest film.mp4 --store data/mine.zarr
      fishray ingest frames/ --store data/mine.zarr --fps 25 --size 120x160
      fishray ingest speed.npy --store data/mine.zarr --name monday
    """
    from fishray.cli.progress import frame_progress
    from fishray.config.ingest import IngestSettings
    from fishray.ingest.writing import ingest as ingest_source

    settings = IngestSettings(size=_parse_size(size), fps=fps, drop_placeholder=drop_placeholder)
    with frame_progress() as progress:
        recording = ingest_source(
            source,
            store,
            settings,
            name,
            lambda done, total: progress(f"ingesting {source.name}", done, total),
            typer.echo,
        )
    frames = "speed alone" if recording.frame_size is None else "frames of {}x{}".format(*recording.frame_size)
    typer.echo(
        f"{recording.name}: {recording.frame_count} frames at {recording.fps:g} fps, {frames}\n"
        f"Next: {shlex.join(['fishray', 'inspect', str(store)])}"
    )


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


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise typer.BadParameter(f"{text!r}: write HEIGHTxWIDTH, for example 120x160", param_hint="--size")
    return int(height), int(width)
