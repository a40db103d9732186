"""Going on with a run that exists: what its sweep file may say by now, and where a fresh start goes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fishray.config.sweep import Sweep
from fishray.errors import RunError
from fishray.runs import Run, RunState
from fishray.runs.directory import SWEEP
from fishray.runs.lease import refuse_in_use
from fishray.tuning.space import plan_order, trial_id

Change = tuple[str, Any, Any]
"""A setting by its dotted name, what it was and what it is; None where it was or is not there."""


@dataclass(frozen=True)
class Continuation:
    """A run that exists, as a sweep would go on with it."""

    run: Run
    state: RunState
    wanted: Sweep
    grown: list[str]
    """In words, how it is to grow."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do; by the journal, for a driver may have died before it grew."""
        planned = {trial_id(*each) for each in plan_order(self.wanted)}
        epochs = self.state.facts.get("search", {}).get("max_epochs")
        as_long = epochs == self.wanted.search.max_epochs
        return self.state.status == "finished" and as_long and planned <= self.state.trials.keys()

    @property
    def families(self) -> set[str]:
        """Families that have a trial."""
        return {trial.config.family for trial in self.state.trials.values()}


def find_continuation(path: Path, wanted: Sweep) -> Continuation | None:
    """Look for a run to go on with; None where a new one starts.

    Raises
    ------
    RunError
        If it is in use, or was begun with other settings.
    """
    if not (path / SWEEP).exists():
        return None
    refuse_in_use(path)
    run = Run(path)
    return Continuation(run, run.standing(), wanted, growth(run, wanted))


def growth(run: Run, wanted: Sweep) -> list[str]:
    """In words, how a run is to grow; empty if it is to become what it was begun as.

    Raises
    ------
    RunError
        If the sweep differs in anything else, with every difference.
    """
    begun, _ = run.resolved()
    grown, refused = [], []
    for change in _changes(begun.model_dump(mode="json"), wanted.model_dump(mode="json")):
        if words := _growth(change):
            grown.append(words)
        elif not _is_free(change[0]):
            refused.append(change)
    if refused:
        width = max(len(name) for name, _, _ in refused)
        rows = [f"  {name:<{width}}  {_shown(was)} → {_shown(now)}" for name, was, now in refused]
        raise RunError(
            "\n".join([
                f"{run.path} has other settings:",
                *rows,
                "a run can get more trials, more epochs and new families, and other resources; start over beside it: "
                "--fresh",
            ])
        )  # fmt: skip
    return grown


def refuse_other_data(run: Run, fingerprint: str) -> None:
    """Refuse to go on with data that is not what the run was begun on.

    Raises
    ------
    RunError
        If the fingerprints differ.
    """
    begun = run.resolved()[1]["fingerprint"]
    if begun != fingerprint:
        raise RunError(
            f"{run.path} was begun on other data:\n"
            f"  data fingerprint  {begun} → {fingerprint}\n"
            f"its scores would not compare; start over beside it: --fresh"
        )


def free_path(path: Path) -> Path:
    """The path itself if nothing is there, else the first of path-2, path-3 and so on where nothing is."""
    number = 2
    free = path
    while free.exists():
        free = path.with_name(f"{path.name}-{number}")
        number += 1
    return free


def _is_free(name: str) -> bool:
    """Whether a setting has no part in any result, and may change as one likes."""
    match name.split("."):
        case ["access" | "cluster" | "trackers", *_] | ["families", _, "resources", *_]:
            return True
    return False


def _growth(change: Change) -> str:
    """In words, if a change lets a run grow."""
    name, was, now = change
    match name.split("."):
        case ["families", family] if was is None:
            return f"{family}: a new family"
        case ["families", family, "trials"] if was is not None and now is not None and now > was:
            return f"{family}: {was} → {now} trials"
        case ["search", "max_epochs"] if now > was:
            return f"{was} → {now} epochs"
    return ""


def _changes(was: dict[str, Any], now: dict[str, Any], above: str = "") -> Iterator[Change]:
    for key in dict.fromkeys([*was, *now]):
        name, before, after = f"{above}{key}", was.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _changes(before, after, f"{name}.")
        elif before != after:
            yield name, before, after


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)
