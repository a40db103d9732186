"""What a sweep would run, without running it."""

from dataclasses import dataclass

from fishray.config.sweep import Sweep
from fishray.config.trial import TrialConfig
from fishray.predictors.network import build_network
from fishray.sequences import valid_labels
from fishray.tuning.node import Node, gpu_share, trials_at_once
from fishray.tuning.preparation import Prepared
from fishray.tuning.searchers import Searcher, make_searcher


@dataclass(frozen=True)
class FamilyPlan:
    """The trials of one family."""

    name: str
    model: str
    trials: int
    parameters: tuple[int, int]
    """Fewest and most weights of a network, of those trials whose settings depend on no result."""
    steps_per_epoch: tuple[int, int]
    """Over all folds."""
    cpus: int
    gpus: float
    at_once: int
    """Trials of this family that fit on this machine at the same time."""
    first: TrialConfig


@dataclass(frozen=True)
class Plan:
    """A sweep before it starts."""

    sweep: Sweep
    node: Node
    recordings: tuple[str, ...]
    fingerprint: str
    folds: tuple[str, ...]
    """Recordings that each fold holds out; empty where there are none."""
    families: tuple[FamilyPlan, ...]
    valid_frames: dict[str, tuple[int, float]]
    """Valid frames and share of positives by split."""


def describe(prepared: Prepared) -> Plan:
    """Draw every trial that depends on no result and build its network once, to say what would run."""
    sweep, sequences = prepared.sweep, prepared.sequences
    searcher = make_searcher(sweep)
    labels = {split: valid_labels(pieces) for split, pieces in sequences.splits.items()}
    return Plan(
        sweep=sweep,
        node=prepared.node,
        recordings=tuple(recording.name for recording in prepared.recordings),
        fingerprint=prepared.fingerprint,
        folds=tuple(fold.title for fold in sequences.parts),
        families=tuple(_family(searcher, name, prepared) for name in sweep.families),
        valid_frames={split: (len(label), float(label.mean())) for split, label in labels.items()},
    )


def _family(searcher: Searcher, name: str, prepared: Prepared) -> FamilyPlan:
    family, node = searcher.sweep.families[name], prepared.node
    folds = len(prepared.sequences.folds)
    trials = searcher.foreseen(name)
    sizes = [
        sum(weight.numel() for weight in build_network(settings).parameters())
        for settings in {trial.settings.model_dump_json(): trial.settings for trial in trials}.values()
    ]
    steps = [folds * trial.settings.steps_per_epoch for trial in trials]
    cpus, gpus = family.resources.cpus, gpu_share(family.resources, len(node.gpu_names))
    return FamilyPlan(
        name=name,
        model=family.model,
        trials=family.trials,
        parameters=(min(sizes), max(sizes)),
        steps_per_epoch=(min(steps), max(steps)),
        cpus=cpus,
        gpus=gpus,
        at_once=trials_at_once(family.resources, node),
        first=trials[0],
    )
