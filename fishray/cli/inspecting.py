"""`inspect`: what a store holds, and what is wrong with it."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fishray.cli.findings import print_findings
from fishray.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from fishray.config.sweep import LabelSettings
    from fishray.report.columns import Column
    from fishray.signals.quality import Inspection, RecordingFacts
    from fishray.store import Recording


def inspect(
    store: Annotated[Path, typer.Argument(help="The zarr store.", metavar="STORE.zarr")],
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="One setting of the rule of the labels: horizon (frames), horizon_s (seconds), low_fraction or "
            "range_threshold (a speed, or auto); may be given again.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    recording: Annotated[
        list[str] | None, typer.Option(help="Look at this one alone; may be given again.", metavar="NAME")
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(
            help="Draw frames of the recording, and its speed with its labels; of several, one picture each.",
            metavar="SHEET.png",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Where the recording's source lies now, for the picture; looked for here and beside the store.",
            metavar="VIDEO",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say it for machines.")] = False,
) -> None:
    """Say what a store holds, and what is wrong with it.

    For each recording: frames, length, speed, what share of its frames the rule of the labels calls positive, and the
    range_threshold that would be taken from its first 60 % (range_threshold: auto). Choose one by which neither class
    is rare.

    Warnings tell what would make labels or forecasts worse than they need be: spikes at a codec's key frames, flicker,
    near-stillness, drift, repeated frames, irregular times, too short a recording. Behind the arrow is what helps.

    \b
      fishray inspect data/mine.zarr --rule horizon_s=1.5 --rule range_threshold=auto
      fishray inspect data/mine.zarr --recording monday --png monday.png
    """
    from rich.console import Console

    from fishray.signals.quality import inspect_store
    from fishray.store import open_store

    if png is not None and png.suffix.lower() != ".png":
        raise SettingError(f"--png {png}: the picture is a PNG; name it {png.with_suffix('.png')}")
    labels = _read_rule(rule or [])
    opened = open_store(store)
    inspection = inspect_store(opened, labels, recording)
    if as_json:
        typer.echo(json.dumps(_plain(inspection), indent=2, allow_nan=False))
    else:
        print_inspection(inspection, store, rule or [], Console())
    if png is not None:
        for name in [facts.name for facts in inspection.recordings]:
            path = png if len(inspection.recordings) == 1 else png.with_stem(f"{png.stem}-{name}")
            _draw(path, opened.recording(name), inspection, [Path(), store.parent] if source is None else [source])
            typer.echo(f"Drawn: {path}", err=as_json)


def _draw(path: Path, recording: "Recording", inspection: "Inspection", places: list[Path]) -> None:
    """Draw a recording; its source is one of the places, or lies there under its name."""
    from fishray.cli.progress import frame_progress
    from fishray.report.contact_sheet import draw_sheet, moments, raw_frames

    positions = moments(recording.speed, recording.fps)
    name = recording.attributes.get("source", "")
    with frame_progress() as progress:
        raw = raw_frames(
            recording,
            [place / name for place in places] + [place for place in places if place != Path()],
            positions,
            lambda done, total: progress(f"looking at {name}", done, total),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(path, recording, inspection.labels, inspection.range_threshold, raw, positions)


def print_inspection(inspection: "Inspection", store: Path, rule: list[str], console: "Console") -> None:
    """Show what a store holds: two tables, and what is wrong with each recording."""
    from fishray.cli.printing import print_columns, say
    from fishray.report.wording import pack, plural

    facts = inspection.recordings
    say(console, f"{store} · {plural(len(facts), 'recording')}\n")
    print_columns(_sizes(facts), console)
    say(console, f"\n labels by {_rule_words(inspection)}")
    print_columns(_speeds(facts), console)
    suggestion = _suggestion(inspection)
    lines = pack(suggestion, console.width - 1, " ", "  ") if console.is_terminal else [" ".join(suggestion)]
    say(console, "\n" + "\n".join(f" {line}" for line in lines))
    for each in facts:
        if each.findings:
            say(console, f"\n {each.name}")
            print_findings([("warning", finding.text, finding.remedy) for finding in each.findings], console)
    if facts and not any(each.findings for each in facts):
        say(console, "\n No warnings.")
    sweep = "video" if any(each.frame_size for each in facts) else "lstm"
    words = ["fishray", "tune", f"sweeps/{sweep}.yaml", "--set", f"data.store={store}"]
    words += [word for setting in rule for word in ("--set", f"labels.{setting}")]
    say(console, f"\nNext: {shlex.join(words)}")


def _sizes(facts: Sequence["RecordingFacts"]) -> list["Column"]:
    from fishray.report.columns import Column
    from fishray.report.wording import footage

    return [
        Column("recording", [each.name for each in facts]),
        Column("frames", [f"{each.frame_count:,}" for each in facts], "right"),
        Column("length", [footage(each.duration_s) for each in facts], "right"),
        Column("fps", [f"{each.fps:.4g}" for each in facts], "right"),
        Column("stored", ["speed" if each.frame_size is None else "{}x{}".format(*each.frame_size) for each in facts]),
        Column("disk", [f"{each.disk_bytes / 1e6:.1f} MB" for each in facts], "right"),
        Column("warnings", [str(len(each.findings) or "–") for each in facts], "right"),
    ]


def _speeds(facts: Sequence["RecordingFacts"]) -> list["Column"]:
    from fishray.report.columns import Column
    from fishray.report.live import sparkline

    return [
        Column("recording", [each.name for each in facts]),
        Column("positive", ["–" if each.positives is None else f"{each.positives:.1%}" for each in facts], "right"),
        Column("events", [f"{each.events:,}" for each in facts], "right"),
        Column("median", [f"{each.speed_quantiles[1]:.1e}" for each in facts], "right"),
        Column("95 %", [f"{each.speed_quantiles[2]:.1e}" for each in facts], "right"),
        Column("auto", ["–" if each.suggested is None else f"{each.suggested.value:.1e}" for each in facts], "right"),
        Column("speed", [sparkline(each.speed_curve) for each in facts]),
        Column("5 %", [f"{each.speed_quantiles[0]:.1e}" for each in facts], "right"),
        Column("highest", [f"{each.speed_quantiles[3]:.1e}" for each in facts], "right"),
    ]


def _rule_words(inspection: "Inspection") -> str:
    labels = inspection.labels
    horizon = (
        f"horizon {labels.horizon or 45} frames" if labels.horizon_s is None else f"horizon {labels.horizon_s:g} s"
    )
    auto = " (auto)" if labels.range_threshold == "auto" else ""
    return f"{horizon}, low_fraction {labels.low_fraction:g}, range_threshold {inspection.range_threshold:.2g}{auto}"


def _suggestion(inspection: "Inspection") -> list[str]:
    """Which threshold the data suggest, and why; in parts that may stand on lines of their own."""
    from fishray.signals.findings import TRAIN_SHARE
    from fishray.signals.thresholds import ACTIVE_SHARE

    suggested = inspection.suggested
    if suggested is None:
        return ["No range_threshold is suggested:", "nothing is as long as the horizon."]
    if suggested.in_noise:
        return ["No range_threshold is suggested:", "it would only measure noise; see the warnings."]
    return [
        f"range_threshold: auto would take {suggested.value:.1e}:",
        f"{ACTIVE_SHARE:.0%} of the horizons in the first {TRAIN_SHARE:.0%} reach it, as in the published recording.",
    ]


def _read_rule(words: list[str]) -> "LabelSettings":
    from pydantic import ValidationError

    from fishray.config.loader import nearest, parse_override
    from fishray.config.sweep import LabelSettings, plain_words

    given = dict(parse_override(word, "--rule", "horizon_s=1.5") for word in words)
    try:
        return LabelSettings.model_validate_json(json.dumps(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        allowed = list(LabelSettings.model_fields)
        if first["type"] == "extra_forbidden":
            close = nearest(key, allowed)
            hint = f"did you mean {close}?" if close else f"allowed are {', '.join(allowed)}"
            raise SettingError(f"--rule {key}: unknown setting; {hint}") from None
        said = plain_words(first["msg"])
        raise SettingError(f"--rule {key}: {said}" if key else f"--rule: {said}") from None


def _plain(inspection: "Inspection") -> dict[str, Any]:
    """An inspection as JSON holds it."""
    plain = asdict(inspection) | {"labels": inspection.labels.model_dump(mode="json")}
    for each, facts in zip(plain["recordings"], inspection.recordings, strict=True):
        each["suggested_in_noise"] = facts.suggested.in_noise if facts.suggested else None
    return plain
