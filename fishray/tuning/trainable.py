"""The one class that Ray Tune runs, for every family. torch is imported where it is used: the driver holds none."""

import errno
import faulthandler
import json
import os
import socket
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ray import tune

from fishray.config.sweep import Sweep
from fishray.config.trial import ConvLstmSettings, TrialConfig
from fishray.errors import FishrayError, ResourceError, RunError, StorageError, StoreError
from fishray.files import storage_errors
from fishray.runs import Run
from fishray.runs.directory import UMASKS
from fishray.runs.lease import check_generation
from fishray.sequences import Sequences
from fishray.sequences.cache import FrameCache
from fishray.sequences.recordings import find_recordings, taken_from
from fishray.sequences.splits import load_sequences
from fishray.store import fingerprint
from fishray.tuning.driver import EPOCH_MARGIN, Attempt
from fishray.tuning.node import Node, gpu_share
from hpc.memory import give_back_freed_memory
from hpc.settings import NODE_END

if TYPE_CHECKING:
    from fishray.training import Score, Trainer

PARENT_EVERY_S = 1.0
"""How often a process looks whether the one that started it lives."""


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
        from fishray.training import take_cpus

        take_cpus(cpus)
        self.run = run
        self.sweep, self._begun_with = run.resolved()
        self.notice = ""
        """What there is to say of its data, to be said once."""
        self._resources = ExitStack()
        self._data: dict[bool, Sequences] = {}
        threading.Thread(target=self._end_with_parent, args=(os.getppid(),), name="parent", daemon=True).start()

    def data(self, frames: bool) -> Sequences:
        """The splits, with frames from the node's shared cache if asked for; loaded once.

        Raises
        ------
        StoreError
            If it is no longer what the sweep began with: a pattern may match a recording that came later.
        """
        if frames not in self._data:
            cache = self._resources.enter_context(FrameCache(cache_key(self.run))) if frames else None
            recordings = find_recordings(self.sweep.data)
            loaded = load_sequences(recordings, self.sweep.data, self.sweep.labels, cache.frames if cache else None)
            self.notice = cache.notice if cache else ""
            if fingerprint(taken_from(recordings, loaded)) != self._begun_with["fingerprint"]:
                raise StoreError(
                    f"{', '.join(map(str, self.sweep.data.stores))} has other recordings than when the sweep began; "
                    f"put them back as they were, or start over: --fresh"
                )
            self._data[frames] = loaded
        return self._data[frames]

    def close(self) -> None:
        """Let go of the shared cache."""
        self._data.clear()
        self._resources.close()

    def _end_with_parent(self, parent: int) -> None:
        """End this process when the one of Ray's that started it has died, which Ray itself may notice much later."""
        while os.getppid() == parent:
            time.sleep(PARENT_EVERY_S)
        self._resources.close()
        os._exit(1)


class TrialTrainable(tune.Trainable):  # type: ignore[misc]
    """One trial at a time; `reset_config` frees its model and takes the next, in the same process."""

    _trainer: "Trainer | None" = None
    _words: IO[str] | None = None
    """Where the interpreter writes its last words when it crashes."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial of this process.

        It starts with its first step, because Tune makes processes ahead of need: another may have run the trial that
        this one was made for, and must not find its traces.
        """
        os.umask(config["umask"])
        self._host: Host | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Free the last trial and take another."""
        self._free()
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run one epoch; a trial that raises is reported with its traceback, and the process lives on.

        What is not the trial's fault is told apart: storage that fails stops the sweep, a worker whose GPU cannot be
        used is left, and a process without memory, or whose GPU has failed, dies, so that the trial is tried again.
        """
        words = Path(self._granted["checkpoint"]).with_name("last-words")
        try:
            score, notice = self._next_score(words)
        except Exception as error:
            if ends_its_process(error):
                words.write_text(describe_failure(error))
                raise
            if isinstance(error, ResourceError):
                return {"unfit": describe_failure(error)}
            if isinstance(error, OSError | StorageError | StoreError | RunError):
                return {"storage": describe_failure(error)}
            # Without "done", which would keep the result from the scheduler, who ends the trial.
            return {"failed": describe_failure(error), "traceback": traceback.format_exc()}
        place = {"host": socket.gethostname(), "pid": os.getpid()}
        return {**score.as_dict(), **place, "notice": notice, "leaves": not fits(score.epoch_s)}

    def cleanup(self) -> None:
        """Let go of model and cache."""
        self._free()
        if self._host:
            self._host.close()

    def _take(self, config: dict[str, Any]) -> None:
        self._granted = config
        self._trainer = None

    def _next_score(self, words: Path) -> tuple["Score", str]:
        """The score of the next epoch, and what there is to say of how it came about.

        It is the checkpoint's own, where that was saved and its result never arrived.
        """
        checkpoint = Path(self._granted["checkpoint"])
        notice = ""
        if self._trainer is None:
            with storage_errors(words):
                self._words = words.open("w")
            faulthandler.enable(self._words)
            self._trainer, notice = self._start(checkpoint)
            if self._trainer.last_score and self._trainer.epoch > self._granted["epochs"]:
                return self._trainer.last_score, notice
        score = self._trainer.run_epoch()
        check_generation(Path(self._granted["run"]), self._granted["generation"])
        self._trainer.save(checkpoint)
        return score, notice

    def _start(self, checkpoint: Path) -> "tuple[Trainer, str]":
        from fishray.training import Trainer, choose_device

        granted = self._granted
        config = TrialConfig.model_validate_json(json.dumps(granted["trial"]))
        self._host = self._host or Host(Run(Path(granted["run"])), granted["cpus"])
        device = choose_device(granted["gpus"])
        limit_gpu_memory(granted["gpus"])
        data = self._host.data(frames=isinstance(config.settings, ConvLstmSettings))
        trainer = Trainer(config, data, device, self._host.sweep.search.metric)
        notices = (self._host.notice, trainer.resume(checkpoint, granted["epochs"], granted["since"]))
        self._host.notice = ""
        return trainer, "; ".join(filter(None, notices))

    def _free(self) -> None:
        if self._host is None:  # torch was not needed yet
            return
        import gc

        import torch

        self._trainer = None
        if self._words:
            faulthandler.disable()
            self._words.close()
            self._words = None
        gc.collect()
        give_back_freed_memory()
        gc.freeze()  # what survives is of the process: to look through all of torch and Ray again takes 0.3 s a trial
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def fits(epoch_s: float, environment: Mapping[str, str] | None = None, now_s: float | None = None) -> bool:
    """Whether another epoch ends before this node does, by what the last one took [s].

    Parameters
    ----------
    environment
        This process's when left out.
    now_s
        The present time when left out [s since 1970].
    """
    told = (os.environ if environment is None else environment).get(NODE_END)
    try:
        end_s = float(Path(told).read_text()) if told else inf
    except (OSError, ValueError):  # the worker and its files are gone; so will we be
        return False
    return end_s - (time.time() if now_s is None else now_s) > epoch_s * EPOCH_MARGIN


def attempt_arguments(sweep: Sweep, run: Run, attempt: Attempt, node: Node, generation: int) -> dict[str, Any]:
    """Return what a process needs to know of an attempt; everything else is in the run's directory.

    Parameters
    ----------
    generation
        Of the lease under which it is started; behind a later one it saves nothing.
    """
    trial = attempt.trial
    return {
        "attempt": attempt.number,
        "checkpoint": str(attempt.checkpoint.resolve()),
        "epochs": trial.epochs,
        "since": trial.since,
        "generation": generation,
        "worker": attempt.worker,
        **trial_arguments(sweep, run, trial.config, node),
    }


def trial_arguments(sweep: Sweep, run: Run, config: TrialConfig, node: Node) -> dict[str, Any]:
    """Return what a process needs to know of a trial."""
    resources = sweep.families[config.family].resources
    return {
        "run": str(run.path.resolve()),
        "umask": UMASKS[sweep.access],
        "trial": config.model_dump(mode="json"),
        "cpus": resources.cpus,
        "gpus": gpu_share(resources, len(node.gpu_names)),
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


def ends_its_process(error: BaseException) -> bool:
    """Whether there was no memory left, or a GPU has failed, after which nothing works in this process any more."""
    import torch

    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and "CUDA error: " in str(error)
