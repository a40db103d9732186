"""The command line: each command parses, calls one function, and prints.

torch and Ray are imported where they are used, so that help is there at once.
"""

import os
import sys
from typing import Annotated

import typer

from fishray import __version__
from fishray.cli import benching, doctor, recordings, runs, slurm, sweeps
from fishray.errors import FishrayError
from hpc.errors import HpcError

app = typer.Typer(
    name="fishray",
    help="""
    Forecast bursts of motion in video of animal groups, and find the model that does it best.

    From your own video to a ranking:

    \b
      fishray ingest VIDEO.mp4 --store data/mine.zarr
      fishray tune sweeps/video.yaml --set data.store=data/mine.zarr
      fishray report runs/video

    The demo, with a simulated tank of fish: fishray tune sweeps/small.yaml
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fishray {__version__}")
        raise typer.Exit


@app.callback()
def fishray(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (anywhere in a command).")
    ] = False,
) -> None:
    """What holds for every command."""


recordings.register(app)
sweeps.register(app)
benching.register(app)
runs.register(app)
slurm.register(app)
doctor.register(app)


def main() -> None:
    """Run a command; an error that is the user's to mend is one line and exit status 2."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except (FishrayError, HpcError) as error:
        if debug:
            raise
        typer.echo(f"fishray: {error}", err=True)
        sys.exit(error.exit_status)
