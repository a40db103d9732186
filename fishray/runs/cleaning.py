"""Room on disk: what an ended trial has left behind, and nobody needs to read a run or to go on with it."""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from fishray.config.sweep import Sweep
from fishray.errors import WeightsError
from fishray.files import storage_errors
from fishray.runs.directory import Run
from fishray.runs.lease import leased, refuse_in_use
from fishray.runs.state import RunState

BLOCK_BYTES = 512
"""What `st_blocks` counts in, whatever the file system's own blocks are."""


@dataclass(frozen=True)
class Cleaning:
    """What goes, or would go."""

    size_bytes: int
    """Room on disk that it frees; a file goes with the last of its names."""
    weights: tuple[str, ...]
    """Trials that lose their best weights."""
    checkpoints: tuple[str, ...]
    """Trials that lose their checkpoints."""
    begin_anew: tuple[str, ...]
    """Those of them that had run all epochs, and would go on from their checkpoint if the run got more."""
    needed: tuple[str, ...]
    """Trials that have run all epochs and keep their checkpoints: a population goes on with one another's weights."""
    best: tuple[str, ...]
    """The best trials, whose weights stay."""
    leaders: tuple[str, ...]
    """Other trials whose weights stay: scored on the test split, or to be scored there at the end of the run."""


def clean(run: Run, keep: int, *, dry_run: bool = False) -> Cleaning:
    """Remove what trials that have ended left behind: checkpoints, and the weights of all but the best.

    Parameters
    ----------
    keep
        How many of the best trials by the run's metric keep their weights; leaders keep them in any case.
    dry_run
        Look, and remove nothing.

    Raises
    ------
    RunError
        If the run is in use.
    StorageError
        If something cannot be removed.
    """
    if dry_run:
        refuse_in_use(run.path)
        return _plan(run, keep)[0]
    with leased(run.path) as lease:
        cleaning, paths = _plan(run, keep)
        for path in paths:
            lease.check()
            with storage_errors(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return cleaning


def kept_weights(run: Run, trial_id: str) -> Path:
    """Find the file with a trial's best weights.

    Raises
    ------
    RunError
        If the run has no such trial.
    WeightsError
        If its weights were cleared away or are missing; names the trials that have theirs.
    """
    trial = run.trial(trial_id)
    path = run.weights_path(trial)
    if path.exists():
        return path
    if not trial.results:
        raise WeightsError(f"{trial_id} has no weights: it has not run an epoch yet; see: fishray status {run.path}")
    ranked = run.state().ranked(run.resolved()[0].search.metric)
    others = ", ".join(each.config.id for each in ranked if run.weights_path(each).exists())
    raise WeightsError(
        f"the weights of {trial_id} were cleared by `fishray clean`, or are missing; "
        f"{f'still there: {others}' if others else f'no trial of {run.path} has any left'} "
        f"(fishray replay {run.path} {trial_id} trains it once more, to compare scores, and keeps no weights)"
    )


def _plan(run: Run, keep: int) -> tuple[Cleaning, list[Path]]:
    """What goes by trial, and every path of it."""
    state, sweep = run.state(), run.resolved()[0]
    best = [trial.config.id for trial in state.ranked(sweep.search.metric)[:keep]]
    leaders = [name for name in _leaders(run, state, sweep) if name not in best]
    ended = [name for name, trial in state.trials.items() if trial.ended]
    finished = {name for name in ended if state.trials[name].status == "finished"}
    weights = [name for name in ended if name not in {*best, *leaders} and run.best_path(name).exists()]
    attempts = {name: found for name in ended if (found := sorted(run.trial_path(name).glob("attempt-*")))}
    needed = [name for name in attempts if name in finished and sweep.search.scheduler == "pbt"]
    checkpoints = [name for name in attempts if name not in needed]
    paths = [run.best_path(name) for name in weights] + [path for name in checkpoints for path in attempts[name]]
    cleaning = Cleaning(
        size_bytes=disk_use(paths),
        weights=tuple(weights),
        checkpoints=tuple(checkpoints),
        begin_anew=tuple(name for name in checkpoints if name in finished),
        needed=tuple(needed),
        best=tuple(best),
        leaders=tuple(leaders),
    )
    return cleaning, paths


def _leaders(run: Run, state: RunState, sweep: Sweep) -> Sequence[str]:
    """Trials that were scored on test, and those that the end of the run, or of a longer one, will score there."""
    test = run.read_predictions().get("test")
    scored = [name for name in test.probability if name in state.trials] if test else []
    coming = [trial.config.id for trial in state.leaders(sweep.search.metric, sweep.report.leaders)]
    return list(dict.fromkeys([*scored, *coming]))


def disk_use(paths: Iterable[Path]) -> int:
    """Room on disk that removing files and folders frees [bytes]; a file with a name elsewhere stays there."""
    every = {below: below.lstat() for path in paths for below in (path, *path.rglob("*"))}
    names = Counter((status.st_dev, status.st_ino) for status in every.values())
    found = {(status.st_dev, status.st_ino): status for status in every.values()}
    gone = [each for key, each in found.items() if S_ISDIR(each.st_mode) or names[key] == each.st_nlink]
    return sum(status.st_blocks * BLOCK_BYTES for status in gone)
