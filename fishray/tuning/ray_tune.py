"""Ray Tune runs the attempts that the driver hands out, and tells it what becomes of them.

To Tune each attempt is a trial of its own, that it neither tries again nor restores: what goes on, and from where, is
the driver's to say. An attempt is handed out when there is room for it; processes are used again.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from fishray.errors import StorageError
from fishray.tuning.crew import Crew
from fishray.tuning.driver import Attempt, Driver
from fishray.tuning.interruption import Interruption
from fishray.tuning.trainable import TrialTrainable

RESULT_FIELDS = (
    "epoch", "loss", "validation_auc", "validation_average_precision", "validation_youden_j", "best_epoch", "collapsed",
    "labels_per_s", "epoch_s", "host", "pid",
)  # fmt: skip

LEAST_SHARE = 1e-3
"""Of the resource that stands for one worker: any number of trials may be there."""

PROCESS_DIED = "its worker process has died"
"""In Ray's words on an actor, where its node lives; else it is unavailable, or its node has died."""

Arguments = Callable[[Attempt], dict[str, Any]]
"""What a process needs to know of an attempt."""

Answer = TypeVar("Answer")


def train_all(driver: Driver, crew: Crew, folder: Path, arguments: Arguments, interruption: Interruption) -> None:
    """Run every attempt that a driver hands out, until all trials have ended or it is to stop.

    Parameters
    ----------
    crew
        The workers.
    folder
        For what Tune writes, on storage that every worker sees; gone afterwards.

    Raises
    ------
    FishrayError
        If the run cannot be written, or belongs to another process by now, or if no worker can run its trials.
    HpcError
        If workers cannot be had.
    """
    desk = Desk(driver, crew, arguments, interruption)
    tuner = tune.Tuner(
        tune.with_resources(TrialTrainable, _place),
        tune_config=tune.TuneConfig(
            search_alg=_Search(desk),
            scheduler=_Scheduler(desk),
            num_samples=-1,  # as many as the search hands out
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial.config['trial']['id']}-{trial.config['attempt']}",
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent.resolve()),
            verbose=0,
            stop=_Stop(desk),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the trainable keeps its own
            callbacks=[_Callback(desk), _Silence()],
        ),
    )
    try:
        with interruption.deferred():
            tuner.fit()
    except Exception:
        if desk.fault is None:
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if desk.fault:
        raise desk.fault


class Desk:
    """Stands between Tune and the driver: whatever the driver raises ends the tuning in good order."""

    def __init__(self, driver: Driver, crew: Crew, arguments: Arguments, interruption: Interruption):
        self.fault: Exception | None = None
        self._driver = driver
        self._crew = crew
        self._arguments = arguments
        self._interruption = interruption
        self._running: set[str] = set()
        """Attempts that have a process, as Tune calls them."""
        self._handed_out: dict[str, Attempt] = {}
        """Attempts that have none yet, as Tune calls them."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to run."""
        return self.fault is not None or (not self._running and (self._driver.stopping or self._driver.done))

    def hand_out(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next attempt; None if there is none now."""
        self.look_up()  # Tune asks nothing else while nothing runs
        if self.is_over:
            return str(Searcher.FINISHED)
        attempt = self._ask(self._driver.next_attempt, None)
        if attempt is None:
            return None
        self._handed_out[trial_id] = attempt
        return self._arguments(attempt)

    def listen(self) -> None:
        """Take the signals, which Tune has taken for itself."""
        self._interruption.listen()

    def look_up(self) -> None:
        """See whether somebody wants the sweep to stop, and how the workers stand."""
        signal = self._interruption.signal
        if signal and not self._driver.stopping:
            self._ask(lambda: self._driver.stop(signal.name), None)
        self._ask(lambda: self._crew.look_after(self._driver), None)

    def take_back(self, controller: Any) -> None:
        """Take back attempts that wait for a worker which is gone, or that are not to start any more."""
        names = [
            trial_id
            for trial_id, attempt in self._handed_out.items()
            if attempt.worker not in self._crew.workers() or self._driver.stopping
        ]
        for trial in controller.get_trials() if names else ():
            if trial.trial_id in names and trial.status == Trial.PENDING:
                del self._handed_out[trial.trial_id]
                trial.init_local_path()  # without which Tune trips over it at the very end
                controller.stop_trial(trial)
                self._driver.take_back(_attempt(trial)[0])

    def started(self, trial: Trial) -> None:
        """An attempt runs."""
        self._handed_out.pop(trial.trial_id, None)
        self._running.add(trial.trial_id)
        self._ask(lambda: self._driver.started(*_attempt(trial)), None)

    def result(self, trial: Trial, result: dict[str, Any]) -> bool:
        """Pass on what an epoch gave, or why it gave nothing; says whether the attempt goes on."""
        goes_on = self._ask(lambda: self._take(trial, result), False)
        if not goes_on:
            self._running.discard(trial.trial_id)
        return goes_on

    def lost(self, trial: Trial) -> None:
        """An attempt's process has died, or its node."""
        self._handed_out.pop(trial.trial_id, None)
        self._running.discard(trial.trial_id)
        own, rays = _last_words(trial)
        worker = trial.config["worker"]
        by_itself = bool(own or PROCESS_DIED in rays or not rays) and worker in self._crew.workers()
        reason = f"its process died: {_cause(own, rays)}" if by_itself else f"{worker} is gone"
        self._ask(lambda: self._driver.lost(*_attempt(trial), reason, own or rays, counts=by_itself), None)

    def _take(self, trial: Trial, result: dict[str, Any]) -> bool:
        name, attempt = _attempt(trial)
        if "storage" in result:
            raise StorageError(result["storage"])
        if result.get("notice"):
            self._driver.notice(name, result["notice"])
        if "unfit" in result:
            self._driver.left(name, attempt, result["unfit"])
            self._crew.dismiss(trial.config["worker"], result["unfit"])
            return False
        self._crew.is_fit()
        if "failed" in result:
            self._driver.failed(name, attempt, result["failed"], result["traceback"])
            return False
        written = {key: trial.config[key] for key in ("cpus", "gpus")} | {key: result[key] for key in RESULT_FIELDS}
        if result.get("folds"):
            written["folds"] = result["folds"]
        goes_on = self._driver.result(name, attempt, written)
        if goes_on and result["leaves"]:
            self._driver.left(name, attempt, f"another epoch would not fit before {result['host']} ends")
            self._crew.release(trial.config["worker"])
            return False
        return goes_on

    def _ask(self, question: Callable[[], Answer], otherwise: Answer) -> Answer:
        if self.fault is None:
            try:
                return question()
            except Exception as error:  # noqa: BLE001  (Tune would wrap it, and go on with the others)
                self.fault = error
        return otherwise


class _AtDesk:
    """Tune writes copies of these to disk, which nothing reads: a copy is empty."""

    _desk: Desk

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Search(_AtDesk, Searcher):  # type: ignore[misc]
    def __init__(self, desk: Desk):
        super().__init__()
        self._desk = desk

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._desk.hand_out(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Scheduler(_AtDesk, FIFOScheduler):  # type: ignore[misc]
    def __init__(self, desk: Desk):
        super().__init__()
        self._desk = desk

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Tune starts what waits by itself; its own choice here would look through every trial there has been."""
        self._desk.take_back(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return str(TrialScheduler.CONTINUE if self._desk.result(trial, result) else TrialScheduler.STOP)


class _Callback(_AtDesk, tune.Callback):  # type: ignore[misc]
    def __init__(self, desk: Desk):
        self._desk = desk

    def setup(self, *_: Any, **__: Any) -> None:
        self._desk.listen()

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        self._desk.look_up()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._desk.started(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._desk.lost(trial)


class _Silence(TrialProgressCallback):  # type: ignore[misc]
    """In the place of the one that Tune adds otherwise, and that prints."""

    def on_trial_result(self, *_: Any, **__: Any) -> None:
        pass

    def on_trial_error(self, *_: Any, **__: Any) -> None:
        pass

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        pass


class _Stop(_AtDesk, Stopper):  # type: ignore[misc]
    def __init__(self, desk: Desk):
        self._desk = desk

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._desk.is_over


def _place(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What an attempt takes, on the worker that it was given."""
    share = {"CPU": config["cpus"], "GPU": config["gpus"]}
    return tune.PlacementGroupFactory([{**share, config["worker"]: LEAST_SHARE}])


def _attempt(trial: Trial) -> tuple[str, int]:
    return trial.config["trial"]["id"], trial.config["attempt"]


def _last_words(trial: Trial) -> tuple[str, str]:
    """What a process that died wrote itself, and what Ray says of it."""
    return _text(Path(trial.config["checkpoint"]).with_name("last-words")), _text(trial.error_file)


def _cause(own: str, rays: str) -> str:
    """Why a process died, in a line."""
    if own:
        return own.splitlines()[0]  # the interpreter names the fault first
    last = rays.splitlines()[-1] if rays else "it left no word"  # and Ray last
    return last.partition("Worker exit detail: ")[2].partition(" Some common causes")[0] or last


def _text(path: Path | str | None) -> str:
    return Path(path).read_text(errors="replace").strip() if path and Path(path).exists() else ""
