"""The command bench: what models take on this machine, and how many of them to run at once."""

import json as json_module
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from fishray.config.sweep import Sweep
    from fishray.tuning.advice import Advice
    from fishray.tuning.preparation import Prepared
    from fishray.tuning.probing import Probed

SECONDS = 3.0
TANK_MINUTES = 2


class Device(StrEnum):
    """Where models compute."""

    cpu = "cpu"
    cuda = "cuda"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(bench)


def bench(
    sweep: Annotated[
        Path | None, typer.Argument(help="The sweep file; two models of each kind if left out.", metavar="[SWEEP.yaml]")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Replace one setting; may be given again.", metavar="KEY=VALUE")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Train on this store; without a sweep, a simulated tank if left out.")
    ] = None,
    device: Annotated[Device | None, typer.Option(help="Where; as the sweep's resources say if left out.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to train each model [s].", min=0.1)] = SECONDS,
    json: Annotated[bool, typer.Option("--json", help="Every number, for machines.")] = False,
) -> None:
    """Measure how fast models train here, what they take, and how many of them to run at once.

    Trains the smallest and the largest model of each family for some seconds, on a piece of the sweep's data. On a
    cluster, run it on a compute node, as the workers are: srun --cpus-per-task 4 fishray bench SWEEP.yaml

    \b
      fishray bench
      fishray bench sweeps/small.yaml
      fishray bench sweeps/video.yaml --store data/mine.zarr --device cuda
    """
    from rich.console import Console

    from fishray.cli.progress import frame_progress
    from fishray.config.loader import load_sweep
    from fishray.report.wording import settings_text
    from fishray.tuning.preparation import prepare
    from fishray.tuning.probing import models_of, probe

    if settings and not sweep:
        raise typer.BadParameter("there is no sweep whose settings it could replace", param_hint="--set")
    with ExitStack() as stack:
        if sweep:
            chosen = [*(settings or []), *([f"data.store={store}"] if store else [])]
            loaded = load_sweep(sweep, chosen)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fishray-bench-")))
            loaded = two_of_each(store, folder)
        with frame_progress() as progress:
            prepared = prepare(loaded, progress)

        def tell(config: Any) -> None:
            text = settings_text(_drawn(loaded, config))
            typer.echo(f"training {config.family}{f', {text}' if text else ''}, for {seconds:g} s", err=True)

        gpus = None if device is None else device is Device.cuda
        probed = probe(prepared, models_of(prepared), seconds, gpus, tell)
    advice = [_advice(each, prepared) for each in probed]
    if json:
        typer.echo(json_module.dumps(_plain(prepared, probed, advice), indent=1))
    else:
        _print(prepared, probed, advice, Console(), sweep)


def two_of_each(store: Path | None, folder: Path) -> "Sweep":
    """A sweep of a small and a large model of each kind, on a store or on a tank that is simulated in a folder."""
    from fishray.config.sweep import Sweep
    from fishray.store import open_store

    if store:
        opened = open_store(store)
        has_frames = all(opened.recording(name).frame_size for name in opened.names)
        data: dict[str, Any] = {"store": str(store)}
    else:
        has_frames = True
        data = {"store": str(folder / "tank.zarr"), "simulate": {"minutes": TANK_MINUTES}}
    families: dict[str, Any] = {"lstm": {"model": "lstm", "trials": 2, "space": {"hidden": {"choice": [8, 64]}}}}
    if has_frames:
        space = {"filters": {"choice": [[4], [16]]}}
        families["convlstm"] = {"model": "convlstm", "trials": 2, "space": space, "fixed": {"downsample": 2}}
    labels = {"horizon_s": 1.5, "range_threshold": "auto" if store else 0.001}
    chosen = {"name": "bench", "data": data, "labels": labels, "families": families, "search": {"searcher": "grid"}}
    return Sweep.model_validate_json(json_module.dumps(chosen))


def _drawn(sweep: "Sweep", config: Any) -> dict[str, Any]:
    """Those settings of a trial that its family's space draws."""
    return {key: getattr(config.settings, key) for key in sweep.families[config.family].space}


def _advice(probed: "Probed", prepared: "Prepared") -> "Advice":
    from fishray.tuning.advice import advise
    from fishray.tuning.probing import gpu_bytes
    from hpc.memory import memory_here

    on_gpu = probed.gpu_busy is not None
    memory = gpu_bytes() if on_gpu else memory_here().limit_bytes
    return advise(probed, prepared.sweep.families[probed.family].resources, prepared.node, memory, on_gpu=on_gpu)


def _print(
    prepared: "Prepared", probed: "list[Probed]", advice: "list[Advice]", console: "Console", sweep: Path | None
) -> None:
    from fishray.cli.printing import print_columns, say
    from fishray.report.columns import Column
    from fishray.report.wording import plural, settings_text
    from hpc.memory import memory_here

    node = prepared.node
    gpus = plural(len(node.gpu_names), "GPU") + f" ({node.gpu_names[0]})" if node.gpu_names else "no GPU"
    memory = f"{memory_here().limit_bytes / 1e9:,.0f} GB"
    names = ", ".join(recording.name for recording in prepared.recordings)
    say(console, f"{plural(node.cpus, 'CPU')}, {memory}, {gpus} · on a piece of {names}\n")
    columns = [
        Column("family", [each.family for each in probed]),
        Column("settings", [settings_text(_drawn(prepared.sweep, each.model.config)) for each in probed], least=9),
        Column("labels/s", [_digits(each.labels_per_s) for each in probed], "right"),
        Column("an epoch", [f"{_digits(each.epoch_s)} s" for each in probed], "right"),
        Column("memory", [f"{each.memory_bytes / 1e9:.1f} GB" for each in probed], "right"),
        Column("waits for data", [f"{each.waiting:.0%}" for each in probed], "right"),
        Column("at once", [f"{each.at_once}, by {each.limit}" for each in advice]),
        Column("weights", [f"{each.model.weights:,}" for each in probed], "right"),
    ]
    print_columns(columns, console)
    where = "one GPU" if any(each.gpu_busy is not None for each in probed) else plural(node.cpus, "CPU")
    say(console, f"\nat once: trials on {where} before something is short.")
    if sweep:
        say(console, f"Next: fishray tune {sweep} --dry-run")


def _digits(value: float) -> str:
    """A measured value, in no more digits than it deserves."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


def _plain(prepared: "Prepared", probed: "list[Probed]", advice: "list[Advice]") -> dict[str, Any]:
    from hpc.memory import memory_here

    models = []
    for each, advised in zip(probed, advice, strict=True):
        measured = asdict(each)
        del measured["model"]
        config = each.model.config
        models.append({
            "family": each.family, "weights": each.model.weights, "settings": config.settings.model_dump(mode="json"),
            **measured, "at_once": advised.at_once, "limited_by": advised.limit,
        })  # fmt: skip
    node = prepared.node
    return {
        "cpus": node.cpus,
        "gpus": list(node.gpu_names),
        "memory_bytes": memory_here().limit_bytes,
        "recordings": [recording.name for recording in prepared.recordings],
        "models": models,
    }
