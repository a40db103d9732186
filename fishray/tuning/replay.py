"""A trial once more, as its run's journal has it, in this process and without Ray: to see its scores come out again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fishray.config.sweep import Resources, Sweep
from fishray.errors import RunError
from fishray.runs import Run, TrialState
from fishray.runs.directory import provenance
from fishray.sequences import Sequences
from fishray.sequences.recordings import find_recordings, taken_from
from fishray.sequences.splits import load_sequences
from fishray.store import fingerprint
from fishray.training import Score, Trainer, choose_device, take_cpus
from fishray.tuning.node import gpu_share, this_node
from fishray.tuning.single import with_data


@dataclass(frozen=True)
class ReplayedEpoch:
    """What an epoch gave now, and what the journal says that it gave then; None where the journal has no such epoch."""

    epoch: int
    loss: float
    value: float
    """Of the run's metric."""
    recorded_loss: float | None = None
    recorded_value: float | None = None

    @property
    def loss_difference(self) -> float:
        """Absolute difference of the losses; 0 where there is nothing to compare with."""
        return 0.0 if self.recorded_loss is None else abs(self.loss - self.recorded_loss)

    @property
    def difference(self) -> float:
        """Absolute difference of the metric's values; 0 where there is nothing to compare with."""
        return 0.0 if self.recorded_value is None else abs(self.value - self.recorded_value)

    @property
    def differs(self) -> bool:
        """Whether loss or metric differ from the journal's in any digit."""
        return self.difference > 0 or self.loss_difference > 0

    def __str__(self) -> str:
        """Say whether it is equal, or by how much it differs; nothing where there is nothing to compare with."""
        if self.recorded_value is None:
            return ""
        if self.difference:
            return f"differs by {_one_digit(self.difference)}"
        return f"loss differs by {_one_digit(self.loss_difference)}" if self.loss_difference else "equal"


def replay(
    run: Run,
    trial_id: str,
    epochs: int | None,
    report: Callable[[ReplayedEpoch], None],
    warn: Callable[[str], None],
) -> list[ReplayedEpoch]:
    """Train a trial once more from its beginning; nothing is written to the run.

    Settings, seed, threads and device are those of the journal; data and labels those of the run's resolved sweep.

    Parameters
    ----------
    epochs
        As many as the journal has of the trial, and at least 1, when left out.
    report
        Told every epoch as it ends.
    warn
        Told, before the first epoch, of everything here that may change the last digits.

    Returns
    -------
    Every epoch.

    Raises
    ------
    RunError
        For an unknown trial, one that took over another's weights, or other data than the run's.
    """
    trial = run.trial(trial_id)
    _refuse_taken_over(run, trial)
    sweep, begun_with = run.resolved()
    _refuse_other_data(run, sweep, begun_with["fingerprint"])
    wanted = epochs or max(1, trial.epochs)
    results = [trial.results[epoch] for epoch in sorted(trial.results) if epoch <= wanted]
    resources = sweep.families[trial.config.family].resources
    share = gpu_share(resources, len(this_node().gpu_names))
    on_gpu = [result.get("gpus", share) > 0 for result in results] or [share > 0]
    device = choose_device(float(on_gpu[0] and torch.cuda.is_available()))
    for text in (*_other_versions(run, begun_with), *_another_device(on_gpu, device)):
        warn(text)

    def train(data: Sequences) -> list[ReplayedEpoch]:
        replayed: list[ReplayedEpoch] = []
        _take_threads(trial.results.get(1), resources)
        trainer = Trainer(trial.config, data, device, sweep.search.metric)
        for epoch in range(1, wanted + 1):
            recorded = trial.results.get(epoch)
            if recorded:
                _take_threads(recorded, resources)
            replayed.append(_compared(trainer.run_epoch(), recorded, sweep.search.metric))
            report(replayed[-1])
        return replayed

    return with_data(sweep, trial.config, train)


def conclusion(replayed: Sequence[ReplayedEpoch]) -> str:
    """Say in one line how a replay compares with the journal."""
    compared = [each for each in replayed if each.recorded_value is not None]
    differing = [each.epoch for each in compared if each.differs]
    if not compared:
        return "the journal has none of these epochs"
    if not differing:
        return f"equal to the journal in {f'all {len(compared)} epochs' if len(compared) > 1 else 'epoch 1'}"
    most = max(each.difference for each in compared)
    if most:
        return f"differs first in epoch {differing[0]}, by {_one_digit(most)} at most"
    in_loss = max(each.loss_difference for each in compared)
    return f"differs first in epoch {differing[0]}, in the loss alone, by {_one_digit(in_loss)} at most"


def _compared(score: Score, recorded: Mapping[str, Any] | None, metric: str) -> ReplayedEpoch:
    found = (score.epoch, score.loss, score.as_dict()[metric])
    return ReplayedEpoch(*found, recorded["loss"], recorded[metric]) if recorded else ReplayedEpoch(*found)


def _refuse_taken_over(run: Run, trial: TrialState) -> None:
    """Refuse a trial whose later results began from another one's weights."""
    if not trial.since:
        return
    name = trial.config.id
    exchanges = [
        event
        for event in run.journal
        if event["event"] == "decision" and event["trial"] == name and event["action"] == "exploit"
    ]
    donor, epoch = exchanges[-1]["donor"], exchanges[-1]["rung"]
    raise RunError(
        f"{name} took over the weights and settings of {donor} after epoch {epoch}, so it cannot be replayed alone; "
        f"where those weights came from: fishray replay {run.path} {donor} --epochs {epoch}"
    )


def _refuse_other_data(run: Run, sweep: Sweep, begun_on: str) -> None:
    recordings = find_recordings(sweep.data)
    sequences = load_sequences(recordings, sweep.data, sweep.labels)  # speed alone: no frame is decoded for this
    here = fingerprint(taken_from(recordings, sequences))
    if here != begun_on:
        places = ", ".join(map(str, sweep.data.stores))
        raise RunError(
            f"{places} holds other data than {run.path} was begun on:\n"
            f"  data fingerprint  {begun_on} → {here}\n"
            f"no score would compare; put the data of then at {places}"
        )


def _other_versions(run: Run, begun_with: Mapping[str, Any]) -> Iterator[str]:
    """What the run was begun or gone on with that is of another version here."""
    here = _versions(provenance(""))
    sources = [_versions(each) for each in (begun_with, *run.journal) if "packages" in each]
    for name, version in here.items():
        others = dict.fromkeys(source[name] for source in sources if source.get(name, version) != version)
        if others:
            yield f"made with {name} {' and '.join(others)}, here {version}: scores may differ in their last digits"


def _versions(made_with: Mapping[str, Any]) -> dict[str, str]:
    return {"fishray": made_with["fishray"], **made_with["packages"]}


def _another_device(on_gpu: Sequence[bool], device: torch.device) -> Iterator[str]:
    kinds = {True: "a GPU", False: "the CPU"}
    made, here = dict.fromkeys(kinds[each] for each in on_gpu), kinds[device.type == "cuda"]
    if list(made) != [here]:
        why = ", for torch can use no GPU here" if on_gpu[0] and here == "the CPU" else ""
        yield f"made on {' and '.join(made)}, here on {here}{why}: scores may differ in their last digits"


def _take_threads(result: Mapping[str, Any] | None, resources: Resources) -> None:
    take_cpus((result or {}).get("cpus", resources.cpus))


def _one_digit(value: float) -> str:
    """Write a small number with the one digit that it deserves: 2e-4."""
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
