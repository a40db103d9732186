"""The command ingest: its options, and what it says of each recording."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fishray.cli.options import numbers

if TYPE_CHECKING:
    from fishray.ingest.several import Outcome, Planned
    from fishray.store import Recording

Sources = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Videos, folders of images, stacks of frames (.tif, .npy, .npz, .h5) or speed series (.npy, .csv); all "
        "that the settings file lists when left out.",
        metavar="SOURCE...",
    ),
]
StorePath = Annotated[
    Path | None, typer.Option("--store", help="The zarr store; made if it is missing.", metavar="STORE.zarr")
]
SettingsPath = Annotated[
    Path | None,
    typer.Option("--settings", help="A file of settings; options given here replace its own.", metavar="INGEST.yaml"),
]
Name = Annotated[str | None, typer.Option(help="Name of the recording; the source's by default.")]
Fps = Annotated[float | None, typer.Option(help="Frame rate, where the source does not tell or is wrong.", min=0.001)]
Start = Annotated[
    str | None, typer.Option(help="First frame: its number, or a time (40s, 1:30).", metavar="FRAME|TIME")
]
Stop = Annotated[str | None, typer.Option(help="First frame to leave out again.", metavar="FRAME|TIME")]
Resample = Annotated[
    float | None,
    typer.Option(help="Bring it to this constant frame rate; each tick takes the nearest earlier frame.", min=0.001),
]
Region = Annotated[
    str | None, typer.Option(help="Keep this part of the picture, in pixels.", metavar="X,Y,WIDTH,HEIGHT")
]
Flicker = Annotated[
    bool | None,
    typer.Option("--normalise-flicker/--no-normalise-flicker", help="Scale every frame to the same mean grey level."),
]
Invert = Annotated[
    str | None,
    typer.Option(
        help="Make animals bright on black: no, yes, or auto (where what moves is darker than its background).",
        metavar="no|yes|auto",
    ),
]
Background = Annotated[
    str | None,
    typer.Option(
        help="Take the background from each frame: none, difference (absolute), or brighter (what is above it).",
        metavar="none|difference|brighter",
    ),
]
Spikes = Annotated[
    bool | None,
    typer.Option("--repair-spikes/--no-repair-spikes", help="Cut the speed's spikes at the codec's key frames down."),
]
Size = Annotated[
    str | None,
    typer.Option(help="Stored frame size; by default the shorter side gets 120 pixels.", metavar="HEIGHTxWIDTH"),
]
Interpolation = Annotated[
    str | None,
    typer.Option(
        help="How frames are made smaller: area (mean of what a pixel covers) or nearest (as published).",
        metavar="area|nearest",
    ),
]
Contrast = Annotated[
    str | None,
    typer.Option(help="Percentiles of grey levels that become black and white: 0.5,99.5.", metavar="LOW,HIGH"),
]
EstimateFrom = Annotated[
    float | None,
    typer.Option(
        help="Share of the recording, from its first frame, that flicker, polarity, background, contrast and spikes "
        "are estimated from; no more than the train split. 0.6 by default.",
        metavar="SHARE",
    ),
]
DropPlaceholder = Annotated[
    bool | None,
    typer.Option(
        "--drop-placeholder/--keep-placeholder", help="Drop the 0 that published speed series carry at their end."
    ),
]


def ingest(
    sources: Sources = None,
    store: StorePath = None,
    settings: SettingsPath = None,
    name: Name = None,
    fps: Fps = None,
    start: Start = None,
    stop: Stop = None,
    resample: Resample = None,
    region: Region = None,
    normalise_flicker: Flicker = None,
    invert: Invert = None,
    background: Background = None,
    repair_spikes: Spikes = None,
    size: Size = None,
    interpolation: Interpolation = None,
    contrast: Contrast = None,
    estimate_from: EstimateFrom = None,
    drop_placeholder: DropPlaceholder = None,
) -> None:
    """Chunk recordings into a zarr store.

    Each source becomes a recording: its frames, made smaller, and its speed at the source's own resolution. A store may
    hold many. What is done to a frame is done in the order of the options. The same command goes on with what was
    stopped or killed, and leaves alone what is there.

    \b
      fishray ingest film.mp4 --store data/mine.zarr
      fishray ingest monday.avi tuesday.avi --store data/mine.zarr --background difference
      fishray ingest frames/ --store data/mine.zarr --fps 25 --size 120x160
      fishray ingest speed.npy --store data/mine.zarr --name monday

    A settings file makes it repeatable (fishray ingest --settings ingest.yaml). It has the options' names, and may list
    recordings, each with settings of its own:

    \b
      store: data/mine.zarr
      region: [40, 0, 1200, 960]
      background: difference
      recordings:
        - source: monday.avi
        - {source: day 2/film.mp4, name: tuesday, start: 1:30, stop: 31:30}
    """
    from fishray.config.ingest import IngestFile
    from fishray.config.ingest_file import load_ingest_file
    from fishray.ingest.several import ingest_each, plan

    given = {
        "fps": fps,
        "start": start,
        "stop": stop,
        "resample": resample,
        "region": numbers("--region", region, ",", 4, "X,Y,WIDTH,HEIGHT, for example 40,0,1200,960"),
        "normalise_flicker": normalise_flicker,
        "invert": invert,
        "background": background,
        "repair_spikes": repair_spikes,
        "size": numbers("--size", size, "x", 2, "HEIGHTxWIDTH, for example 120x160"),
        "interpolation": interpolation,
        "contrast": numbers("--contrast", contrast, ",", 2, "LOW,HIGH, for example 0.5,99.5"),
        "estimate_from": estimate_from,
        "drop_placeholder": drop_placeholder,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    _refuse_wrong_values(overrides)
    file = load_ingest_file(settings) if settings else IngestFile()
    into = store or file.store
    if into is None:
        raise typer.BadParameter("say into which store, here or in the settings file", param_hint="--store")
    planned = plan(file, sources or (), overrides, name)
    with _reading(into) as read:
        outcomes = []
        for outcome in ingest_each(planned, read):
            _print_outcome(outcome, len(planned))
            outcomes.append(outcome)
    _end(outcomes, into)


@contextmanager
def _reading(store: Path) -> Iterator[Any]:
    """Give a function that ingests one recording and shows how it goes."""
    from fishray.cli.progress import frame_progress
    from fishray.ingest.writing import ingest as ingest_source

    with frame_progress() as progress:

        def read(planned: "Planned") -> "Recording":
            return ingest_source(
                planned.source,
                store,
                planned.settings,
                planned.name,
                lambda done, total: progress(f"ingesting {planned.source.name}", done, total),
                typer.echo,
                lambda done, total: progress(f"looking at {planned.source.name}", done, total),
            )

        try:
            yield read
        except KeyboardInterrupt:
            words = shlex.join(["fishray", *sys.argv[1:]])
            typer.echo(f"Stopped; what is on disk is kept. Go on: {words}")
            raise typer.Exit(130) from None


def _print_outcome(outcome: "Outcome", of: int) -> None:
    recording = outcome.recording
    if outcome.error is not None:
        if of == 1:
            raise outcome.error
        typer.echo(f"fishray: {outcome.error}", err=True)
    elif recording is not None:
        frames = "speed alone" if recording.frame_size is None else "frames of {}x{}".format(*recording.frame_size)
        typer.echo(f"{recording.name}: {recording.frame_count} frames at {recording.fps:g} fps, {frames}")


def _end(outcomes: "list[Outcome]", store: Path) -> None:
    """Say what to do next, or which sources have failed."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        names = ", ".join(str(outcome.planned.source) for outcome in failed)
        typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} recordings are in {store}; failed: {names}")
        raise typer.Exit(2)
    typer.echo(f"Next: {shlex.join(['fishray', 'inspect', str(store)])}")


def _refuse_wrong_values(overrides: dict[str, Any]) -> None:
    from pydantic import ValidationError

    from fishray.config.ingest import IngestSettings
    from fishray.config.sweep import plain_words

    try:
        IngestSettings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{str(first['loc'][0]).replace('_', '-')}"
        message = plain_words(first["msg"])
        raise typer.BadParameter(message, param_hint=option) from None
