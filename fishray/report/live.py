"""What a sweep is doing now: shown live by `tune`, once by `status`, and line by line in a log file."""

import shlex
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from fishray.config.sweep import Family, Sweep
from fishray.report.columns import BASELINE, BEST, GAP, OVER, Column, align, needed_width
from fishray.report.estimate import training_cost, what_is_left
from fishray.report.wording import (
    METRIC_NAMES,
    PERSISTENCE,
    clock,
    cpu_time,
    footage,
    pack,
    plural,
    rough_time,
    settings_text,
    shorten,
    signed,
    stop_reason,
)
from fishray.runs import Run, RunState, TrialState
from fishray.runs.journal import JournalReader
from fishray.runs.state import GOING_ON

SPARKS = "▁▂▃▄▅▆▇█"
RUNNING_ROWS = 8
"""Running trials shown; a cluster has more than a terminal has lines."""
WORKER_STATES = ("running", "joining", "pending", "draining", "lost", "ended")
FOLLOW_EVERY_S = 0.5
SILENCE_S = 120
"""Time without an event after which the view says how old the last one is."""


class LiveView:
    """Show a sweep while it runs: redrawn in place on a terminal, else one plain line for each notable event.

    Examples
    --------
    >>> with LiveView(Console(), sweep) as view:  # doctest: +SKIP
    ...     view.on_event(journal.append("sweep", **facts))
    """

    def __init__(self, console: Console, sweep: Sweep):
        self.console = console
        self.sweep = sweep
        self.state = RunState()
        self._lock = threading.Lock()  # the terminal is redrawn by a thread of its own
        redrawn = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(self, console=console, refresh_per_second=4) if redrawn else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def catch_up(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take the events of an earlier driver, silently."""
        with self._lock:
            for record in records:
                self.state.apply(record)

    def say(self, text: str) -> None:
        """Print a line that is none of the journal's."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def on_event(self, record: Mapping[str, Any]) -> None:
        """Take one event of the journal."""
        with self._lock:
            self.state.apply(record)
        if self._live is None and (line := event_line(record, self.state, self.sweep)):
            elapsed = clock(record["time"] - self.state.started_s)
            self.say(f"{elapsed}  {line}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            yield render(self.state, self.sweep, time.time(), options.max_width)


def print_status(run: Run, console: Console) -> None:
    """Show how a run stands now: where it runs, or that it does not, and what to type next."""
    state, sweep = run.standing(), run.resolved()[0]
    console.print(render(state, sweep, time.time(), console.width))
    print_next(run, state, console)


def follow_run(run: Run, console: Console) -> RunState:
    """Show a run that another process runs until it ends, or Ctrl-C; the run does not notice.

    Returns
    -------
    How it stood then.
    """
    journal = JournalReader(run.journal.path)
    with suppress(KeyboardInterrupt), LiveView(console, run.resolved()[0]) as view:
        view.catch_up(journal.read())
        while view.state.status in GOING_ON and run.holder():
            time.sleep(FOLLOW_EVERY_S)
            for record in journal.read():
                view.on_event(record)
        for record in journal.read():  # it may have ended in good order just now
            view.on_event(record)
        view.state.mark_dead()
    return view.state


def print_next(run: Run, state: RunState, console: Console) -> None:
    """Say where a run runs, or that it does not, and what to type next."""
    holder, path = run.holder(), shlex.quote(str(run.path))
    if holder and state.status not in ("finished", "failed"):  # else it puts things away
        line = f"It runs on {holder}. Next: fishray status {path} --follow"
    elif state.status == "died":
        died = f"{state.facts['host']}, process {state.facts['pid']}" if state.facts else "its process"
        line = f"It does not run: {died} has died. Go on: {state.facts.get('command', 'fishray tune SWEEP.yaml')}"
    elif state.status == "interrupted":
        line = f"It does not run. Go on: {state.facts['command']}"
    else:
        line = f"Next: fishray report {path}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def render(state: RunState, sweep: Sweep, now_s: float, width: int) -> RenderableType:
    """Draw the state of a sweep.

    Parameters
    ----------
    state
        The journal, folded.
    sweep
        The sweep, resolved.
    now_s
        The present time [s since 1970].
    width
        Characters of a line.
    """
    lines = [*_header(state, sweep, now_s, width), *_families(state, sweep, width)]
    if state.status in GOING_ON:  # of a driver that is gone nobody notes how its workers stand
        lines += _workers(state, width)
    running = [trial for trial in state.trials.values() if trial.status == "running"]
    if running and state.status in GOING_ON:
        lines += _running(running[:RUNNING_ROWS], state, sweep, width)
        if len(running) > RUNNING_ROWS:
            lines.append(Text(f" … {len(running) - RUNNING_ROWS:,} more running", style=OVER))
    if state.last:
        silence_s = now_s - state.updated_s
        aged = f" ({rough_time(silence_s)} ago)" if silence_s > SILENCE_S and state.status in GOING_ON else ""
        last = shorten([f" last: {' '.join(state.last.split())}"], width - len(aged))
        lines.append(Text(f"{last}{aged}", style=OVER))
    return Group(*lines)


def event_line(record: Mapping[str, Any], state: RunState, sweep: Sweep) -> str:
    """Tell an event in one line for a log; empty for one that is not notable."""
    metric = sweep.search.metric
    match record["event"]:
        case "sweep":
            trials = plural(sum(family.trials for family in sweep.families.values()), "trial")
            return " · ".join([*_facts(state, sweep), trials])
        case "baseline":
            return f"{record['name']}: {METRIC_NAMES[metric]} {record['scores'][_score(sweep)]:.3f}"
        case "attempt":
            again = f" again (attempt {record['attempt']})" if record["attempt"] > 1 else ""
            return f"{record['trial']} started{again}: {_settings(state.trials[record['trial']], sweep)}"
        case "result":
            result = (
                f"loss {record['loss']:.3f}, {METRIC_NAMES[metric]} "
                f"{_against_persistence(record[metric], state, sweep)}, {record['labels_per_s']:,.0f} labels/s"
            )
            return f"{record['trial']} epoch {record['epoch']}/{sweep.search.max_epochs}: {result}"
        case "decision" if record["action"] == "exploit":
            return state.last
        case "end":
            return f"{record['trial']} {stop_reason(record['status'], record['reason'])}"
        case "worker":
            return f"worker {record['worker']} {_standing([record])}"
        case "scoring":
            return f"scoring {record['what']}"
        case "lost" | "left" | "notice":
            return state.last
        case "stopping":
            return str(record["reason"])
        case "finish":
            return stop_reason(record["status"], record.get("reason", ""))
    return ""


def sparkline(values: Sequence[float]) -> str:
    """Draw values as bars, from their own least to their own largest."""
    low, high = min(values), max(values)
    if high == low:
        return SPARKS[3] * len(values)
    return "".join(SPARKS[round((value - low) / (high - low) * (len(SPARKS) - 1))] for value in values)


def _header(state: RunState, sweep: Sweep, now_s: float, width: int) -> Iterator[Text]:
    timing = f"{state.status} after {clock(state.updated_s - state.started_s)}"
    if state.status in GOING_ON:
        timing = clock(now_s - (state.started_s or now_s))
        left = what_is_left(state, sweep) if state.status == "running" else None
        left_s = left.wall_s - (now_s - state.updated_s) if left else 0.0
        if left and left_s > 0:
            spent = training_cost(state, sweep).cpu_hours
            whole, so_far = cpu_time(spent + left.cpu_s / 3600, spent)
            timing += f"  {so_far} of ~{whole}  ~{rough_time(left_s)} left"
    lines = pack(_facts(state, sweep), width)
    if len(lines[-1]) + GAP + len(timing) > width:
        lines.append("")
    lines[-1] += timing.rjust(width - len(lines[-1]))
    return (Text(line, style="bold") for line in lines)


def _facts(state: RunState, sweep: Sweep) -> list[str]:
    facts = state.facts
    if not facts:
        return [sweep.name, "starting"]
    recordings = plural(len(facts["recordings"]), "recording")
    recordings += f", {len(facts['folds'])} folds" if facts.get("folds") else ""
    gpus = plural(facts["gpus"], "GPU") if facts["gpus"] else "no GPU"
    named = f" ({facts['gpu_name']})" if facts["gpus"] and facts.get("gpu_name") else ""
    workers = f"up to {plural(facts['most_workers'], 'worker')} of " if facts.get("most_workers") else ""
    return [
        sweep.name,
        f"{facts['store']} ({recordings}, {footage(facts['duration_s'])}, {facts['positives'] * 100:.1f} % positive)",
        f"{workers}{plural(facts['cpus'], 'CPU')}, {gpus}{named}",
    ]


def _families(state: RunState, sweep: Sweep, width: int) -> list[Text]:
    trials = {name: [t for t in state.trials.values() if t.config.family == name] for name in sweep.families}
    best = [_best(trials[name], sweep) for name in sweep.families]
    values = {name: value for name, trial in zip(trials, best, strict=True) if (value := _value(trial, sweep))}
    baselines = _baselines(state, sweep)
    for compact in (False, True):
        columns = _tallies(trials, state, sweep, compact=compact)
        room = width - needed_width(columns) - GAP
        title = METRIC_NAMES[sweep.search.metric]
        columns.append(Column(f"best {title}" if room > len(title) + 5 else "best", [*_bests(best, sweep, room), ""]))
        if needed_width(columns) <= width and room >= 7 + 23:
            break
    winner = max(values, key=values.__getitem__, default=None)
    styles = {index: BEST for index, name in enumerate(trials) if name == winner}
    styles[len(trials)] = BASELINE
    last = width - room
    spans = {len(trials): (len(columns) - 1, baselines)}
    if last + len(baselines) > width:  # too little room under the best trials: begin earlier
        spans = {len(trials): (1, baselines)}
    return align(columns, width, styles, spans if baselines else None)


def _workers(state: RunState, width: int) -> list[Text]:
    """How the workers of a cluster stand: those that ended in good order by their number alone."""
    parts = []
    for name in WORKER_STATES:
        workers = [worker for worker in state.workers.values() if worker["state"] == name]
        if workers:
            parts.append(f"{len(workers)} {name}" if name == "ended" else f"{len(workers)} {_standing(workers)}")
    return [Text(line) for line in pack([f" workers  {parts[0]}", *parts[1:]], width, indent=" " * 10)] if parts else []


def _standing(workers: Sequence[Mapping[str, Any]]) -> str:
    """The state of workers that have it in common, where they are and why."""
    nodes, reasons = (", ".join(sorted({worker[key] for worker in workers} - {""})) for key in ("node", "reason"))
    return f"{workers[0]['state']}{f' on {nodes}' if nodes else ''}{f' ({reasons})' if reasons else ''}"


def _tallies(trials: Mapping[str, list[TrialState]], state: RunState, sweep: Sweep, *, compact: bool) -> list[Column]:
    """How many trials of each family are over, run and wait, and how many reached each rung."""
    counts = [_counts(trials[name], family) for name, family in sweep.families.items()]
    titles = {"done": "done", "running": "run", "waiting": "wait", "failed": "failed"}
    baselines = {"done": str(len(state.baselines) or "")}
    columns = [Column("family", [*trials, "baselines"])]
    for title, short in titles.items():
        cells = [f"{count[title]:,}" for count in counts]
        if title != "failed" or set(cells) != {"0"}:
            columns.append(Column(short if compact else title, [*cells, baselines.get(title, "")], "right"))
    rungs = sweep.search.rungs
    reached = [[sum(trial.epochs >= rung for trial in trials[name]) for rung in rungs] for name in trials]
    widths = [max(len(str(row[index])) for row in [rungs, *reached]) for index in range(len(rungs))]
    cells = [_arrows([count or "" for count in row], widths) for row in reached]
    return [*columns, Column("rung " + _arrows(rungs, widths), [f"     {cell}" for cell in cells] + [""])]


def _counts(trials: list[TrialState], family: Family) -> dict[str, int]:
    done = sum(trial.status in ("finished", "stopped") for trial in trials)
    failed = sum(trial.status == "failed" for trial in trials)
    running = sum(trial.status == "running" for trial in trials)
    return {"done": done, "running": running, "waiting": family.trials - done - failed - running, "failed": failed}


def _arrows(counts: Sequence[int | str], widths: Sequence[int]) -> str:
    cells = [str(count).rjust(width) for count, width in zip(counts, widths, strict=True)]
    shown = sum(bool(cell.strip()) for cell in cells)
    return " → ".join(cells[:shown])


def _bests(best: Sequence[TrialState | None], sweep: Sweep, room: int) -> list[str]:
    """Value, settings and epochs of each family's best trial, as far as there is room."""
    values = ["–" if trial is None else f"{_value(trial, sweep):.3f}" for trial in best]
    settings = ["" if trial is None else _settings(trial, sweep) for trial in best]
    sparks = ["" if trial is None else sparkline(_curve(trial, sweep)) for trial in best]
    longest = max(map(len, settings))
    space = room - 5 - GAP
    with_sparks = space - GAP - max(map(len, sparks)) >= min(longest, 20)
    space = min(longest, space - (GAP + max(map(len, sparks)) if with_sparks else 0))
    cells = []
    for value, setting, spark in zip(values, settings, sparks, strict=True):
        shown = shorten(setting.split(", "), space).ljust(space) if space >= 10 else ""
        cells.append(f"{value}  {shown}  {spark if with_sparks else ''}".rstrip())
    return cells


def _baselines(state: RunState, sweep: Sweep) -> str:
    scored = sorted(state.baselines.items(), key=lambda item: -item[1][_score(sweep)])
    return " · ".join(f"{scores[_score(sweep)]:.3f} {name.removesuffix(' algorithm')}" for name, scores in scored)


def _running(trials: Sequence[TrialState], state: RunState, sweep: Sweep, width: int) -> list[Text]:
    """One line for each running trial: the longest form that fits."""
    latest = [trial.results.get(trial.epochs) for trial in trials]
    last = sweep.search.max_epochs
    names = Column("", [f"trial {trial.config.id}" for trial in trials])
    epochs = Column("", [f"epoch {trial.epochs}/{last}" for trial in trials])
    rates = Column("", [f"{result['labels_per_s']:,.0f} labels/s" if result else "" for result in latest], "right")
    losses = Column("", [f"loss {result['loss']:.3f}" if result else "" for result in latest])

    def bar(length: int) -> Column:
        filled = [round(trial.epochs / last * length) for trial in trials]
        return Column("", ["━" * count + "─" * (length - count) for count in filled])

    def values(*, compact: bool) -> Column:
        cells = [_against_persistence(r[sweep.search.metric], state, sweep, compact) if r else "" for r in latest]
        return Column("", [f"val {cell}" if cell else "" for cell in cells])

    full, short = values(compact=False), values(compact=True)
    for columns in (
        [names, epochs, bar(26), rates, losses, full],
        [names, epochs, bar(9), rates, losses, full],
        [names, epochs, bar(9), rates, losses, short],
        [names, epochs, rates, losses, short],
        [names, epochs, short],
    ):
        if needed_width(columns) <= width:
            break
    return align(columns, width)[1:]


def _best(trials: Sequence[TrialState], sweep: Sweep) -> TrialState | None:
    return max((trial for trial in trials if trial.results), key=lambda trial: _value(trial, sweep) or 0, default=None)


def _value(trial: TrialState | None, sweep: Sweep) -> float | None:
    return trial.best(sweep.search.metric) if trial else None


def _curve(trial: TrialState, sweep: Sweep) -> list[float]:
    return [trial.results[epoch][sweep.search.metric] for epoch in sorted(trial.results)]


def _score(sweep: Sweep) -> str:
    """Key of the sweep's metric among the scores of a baseline."""
    return sweep.search.metric.removeprefix("validation_")


def _settings(trial: TrialState, sweep: Sweep) -> str:
    """Name what varies in the trial's family."""
    settings = trial.config.settings.model_dump(mode="json")
    varied = {name: settings[name] for name in sweep.families[trial.config.family].space}
    return settings_text(varied) or trial.config.settings.model


def _against_persistence(value: float, state: RunState, sweep: Sweep, compact: bool = False) -> str:
    if PERSISTENCE not in state.baselines:
        return f"{value:.3f}"
    difference = value - state.baselines[PERSISTENCE][_score(sweep)]
    if compact:
        return f"{value:.3f} ({signed(difference)})"
    words = f"{signed(difference)} over" if difference >= 0 else f"{-difference:.3f} below"
    return f"{value:.3f} ({words} {PERSISTENCE})"
