"""The one class that Ray Tune runs, for every family. torch is imported where it is used: the driver holds none."""

import json
import os
import socket
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from fishray.config.sweep import Sweep
from fishray.config.trial import ConvLstmSettings, TrialConfig
from fishray.errors import FishrayError
from fishray.runs import Run
from fishray.sequences import Sequences
from fishray.sequences.cache import FrameCache
from fishray.sequences.splits import load_sequences
from fishray.store import open_store
from fishray.tuning.node import Node, gpu_share

if TYPE_CHECKING:
    from fishray.training import Trainer


class Host:
    """A process that trains: its run, its threads, and data that trials share.

    Parameters
    ----------
    run
        Where the sweep lives.
    cpus
        CPUs granted to this process, and its number of threads.
    """

    def __init__(self, run: Run, cpus: int):
        import torch

        torch.set_num_threads(cpus)
        self.run = run
        self.sweep: Sweep = run.resolved()[0]
        self._resources = ExitStack()
        self._data: dict[bool, Sequences] = {}

    def data(self, frames: bool) -> Sequences:
        """The splits, with frames from the node's shared cache if asked for; loaded once."""
        if frames not in self._data:
            read = None
            if frames:
                read = self._resources.enter_context(FrameCache(cache_key(self.run))).frames
            store = open_store(self.sweep.data.store)
            self._data[frames] = load_sequences(store, self.sweep.data, self.sweep.labels, read)
        return self._data[frames]

    def close(self) -> None:
        """Let go of the shared cache."""
        self._data.clear()
        self._resources.close()


class TrialTrainable(tune.Trainable):  # type: ignore[misc]
    """One trial at a time; `reset_config` frees its model and takes the next, in the same process."""

    _trainer: "Trainer | None" = None

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial of this process.

        It starts with its first step, because Tune makes processes ahead of need: another may have run the trial that
        this one was made for, and must not find its traces.
        """
        os.umask(0o077)
        self._host: Host | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Free the last trial and take another."""
        self._free()
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run one epoch; a trial that raises is reported with its traceback, and the process lives on."""
        try:
            if self._trainer is None:
                self._trainer = self._start()
            score = self._trainer.run_epoch(self._best_path)
            self._trainer.save(self._attempt_path / "checkpoint")
        except Exception as error:  # noqa: BLE001  (whatever a trial raises is its result)
            # Without "done", which would keep the result from the scheduler, who ends the trial.
            return {"failed": describe_failure(error), "traceback": traceback.format_exc()}
        return {**score.as_dict(), "attempt": self._attempt, "host": socket.gethostname(), "pid": os.getpid()}

    def cleanup(self) -> None:
        """Let go of model and cache."""
        self._free()
        if self._host:
            self._host.close()

    def _take(self, config: dict[str, Any]) -> None:
        self._granted = config
        self._trainer = None

    def _start(self) -> "Trainer":
        from fishray.training import Trainer, choose_device

        granted = self._granted
        config = TrialConfig.model_validate_json(json.dumps(granted["trial"]))
        self._host = self._host or Host(Run(Path(granted["run"])), granted["cpus"])
        run = self._host.run
        self._best_path = run.best_path(config.id)
        self._attempt, self._attempt_path = _next_attempt(run.trial_path(config.id))
        device = choose_device(granted["gpus"])
        limit_gpu_memory(granted["gpus"])
        data = self._host.data(frames=isinstance(config.settings, ConvLstmSettings))
        trainer = Trainer(config, data, device, self._host.sweep.search.metric)
        for earlier in range(self._attempt - 1, 0, -1):
            checkpoint = self._attempt_path.with_name(f"attempt-{earlier}") / "checkpoint"
            if checkpoint.exists():
                trainer.load(checkpoint)
                break
        return trainer

    def _free(self) -> None:
        if self._host is None:  # torch was not needed yet
            return
        import gc

        import torch

        self._trainer = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def trial_arguments(sweep: Sweep, run: Run, config: TrialConfig, node: Node) -> dict[str, Any]:
    """Return what a process needs to know of its trial; everything else is in the run's directory."""
    resources = sweep.families[config.family].resources
    return {
        "run": str(run.path.resolve()),
        "trial": config.model_dump(mode="json"),
        "cpus": resources.cpus,
        "gpus": gpu_share(resources, node),
    }


def cache_key(run: Run) -> str:
    """Name of a run's frame cache on a node; two runs never share one."""
    status = run.path.resolve().stat()
    return f"{run.path.name}-{status.st_dev:x}-{status.st_ino:x}"


def describe_failure(error: Exception) -> str:
    """One line for the ranking; a model too large for its share of a GPU is called that."""
    import torch

    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return f"model too large for its GPU share: {first}"
    if isinstance(error, FishrayError):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def limit_gpu_memory(gpus: float) -> None:
    """Keep a trial within its share of a GPU's memory."""
    import torch

    if 0 < gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus)


def _next_attempt(trial_path: Path) -> tuple[int, Path]:
    """A directory of this attempt's own; one that was cut off may still write to its own."""
    trial_path.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = trial_path / f"attempt-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return number, path
