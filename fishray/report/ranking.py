"""The numbers of a report: every trial and every baseline in one order, and what the test split says of the leaders.

Trials are ordered by validation alone. The test split is read here, after every choice is made, and changes none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from fishray.config.sweep import Sweep
from fishray.evaluation.bootstrap import Estimate, bootstrap_auc
from fishray.evaluation.metrics import OperatingPoint, count_events, max_accuracy, max_youden_j, roc_auc
from fishray.report.estimate import Cost, training_cost
from fishray.report.verdict import PUBLISHED, Verdict, judge
from fishray.report.wording import METRIC_NAMES, PERSISTENCE, plural, shorten
from fishray.runs import Predictions, Run, RunState, TrialState

LEAST_EVENTS = 10
"""Positive episodes below which a test split decides nothing: one event more or less would turn the verdict."""
LEAST_BLOCKS = 5
"""Bootstrap blocks below which resamples are too much alike, and intervals too narrow."""
LEAST_BLOCK_FRAMES = 300
HORIZONS_IN_A_BLOCK = 4
"""Labels depend on each other over about a horizon; a block is well beyond that."""
LARGE_GAP = 0.03
"""Validation minus test AUC; choosing the best epoch alone explains about this much on the original recording."""


@dataclass(frozen=True)
class Row:
    """One trial or baseline of the ranking."""

    rank: int | None
    """Place among the trials; None for baselines, and for trials without a result."""
    predictor: str
    kind: Literal["trial", "baseline"]
    model: str
    family: str
    settings: dict[str, Any]
    """Those that vary in the family's space."""
    epochs: int
    max_epochs: int
    status: str
    reason: str
    validation: float | None
    """Best value of the sweep's metric over the epochs."""
    validation_auc: float | None
    """At the best epoch."""
    folds: tuple[float, ...]
    """The sweep's metric in each fold at the best epoch, of which `validation` is the mean; empty without folds."""
    best_epoch: int | None
    collapsed: bool
    test: Estimate | None
    over: dict[str, Estimate]
    """Test AUC minus that of each baseline, paired."""


@dataclass(frozen=True)
class HeldOut:
    """The test split as it was scored: common valid frames."""

    frames: int
    seconds: float | None
    events: int
    positives: float
    """Share of positive frames."""
    blocks: int
    """Whole bootstrap blocks that it holds."""
    block_frames: int

    def __str__(self) -> str:
        length = f"{self.seconds:,.0f} s" if self.seconds is not None else plural(self.frames, "frame")
        return f"{plural(self.events, 'event')} in {length} of test"


@dataclass(frozen=True)
class Published:
    """What the original project published of a predictor on test."""

    predictor: str
    auc: float
    accuracy: OperatingPoint
    youden_j: OperatingPoint


@dataclass(frozen=True)
class Ranking:
    """Everything that a report says."""

    run: str
    name: str
    status: str
    updated_s: float
    """Time of the journal's last event [s since 1970]."""
    seed: int
    metric: str
    trials: int
    """Trials of the whole sweep, also those that have not begun."""
    fingerprint: str
    fishray: str
    folds: tuple[str, ...]
    """Recordings that each fold holds out; empty where there are none."""
    cost: Cost
    rows: tuple[Row, ...]
    test: HeldOut | None
    verdicts: tuple[Verdict, ...]
    no_verdict: str
    """Why there is none; empty where there are verdicts."""
    published: tuple[Published, ...]
    """The best trial and the published algorithm."""
    warnings: tuple[str, ...]

    @property
    def best(self) -> Row | None:
        """The best trial by validation."""
        return next((row for row in self.rows if row.rank == 1), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def rank(run: Run) -> Ranking:
    """Rank a run's trials and baselines, and judge its leaders on test.

    Parameters
    ----------
    run
        Finished or not: what is missing is said to be missing.

    Raises
    ------
    RunError
        If the journal is damaged.
    """
    state = run.standing()
    sweep, provenance = run.resolved()
    predictions = run.read_predictions().get("test")
    held_out = _held_out(predictions, state, sweep) if predictions else None
    unfit = _too_little(held_out, state, sweep)
    test, over = (
        _score(predictions, tuple(state.baselines), sweep, held_out.block_frames, with_intervals=not unfit)
        if predictions and held_out
        else ({}, {})
    )
    rows = _rows(state, sweep, test, over)
    leaders = [row for row in rows if row.kind == "trial" and row.test]
    if not unfit and leaders and PERSISTENCE not in test:
        unfit = f"{PERSISTENCE} has no scores on test"
    return Ranking(
        run=str(run.path),
        name=sweep.name,
        status=state.status,
        updated_s=state.updated_s,
        seed=sweep.seed,
        metric=sweep.search.metric,
        trials=sum(family.trials for family in sweep.families.values()),
        fingerprint=str(provenance["fingerprint"]),
        fishray=str(provenance["fishray"]),
        folds=tuple(state.facts.get("folds", ())),
        cost=training_cost(state, sweep),
        rows=rows,
        test=held_out,
        verdicts=() if unfit else _verdicts(leaders, str(held_out)),
        no_verdict=unfit or ("" if leaders else "no trial has scores on test"),
        published=_published(predictions, leaders, test) if predictions else (),
        warnings=(*_warnings(rows, sweep.search.metric), *_unscored(state), *state.facts.get("notes", ())),
    )


def _held_out(predictions: Predictions, state: RunState, sweep: Sweep) -> HeldOut:
    block_frames = _block_frames(state, sweep)
    fps = {recording["name"]: recording["fps"] for recording in state.facts.get("recordings", [])}
    frames = np.bincount(predictions.recording_index, minlength=len(predictions.recording))
    seconds = None
    if all(name in fps for name in predictions.recording):
        seconds = float(sum(count / fps[name] for name, count in zip(predictions.recording, frames, strict=True)))
    return HeldOut(
        frames=predictions.label.size,
        seconds=seconds,
        events=count_events(predictions.label, predictions.recording_index, predictions.frame),
        positives=float(predictions.label.mean()) if predictions.label.size else 0.0,
        blocks=predictions.label.size // block_frames,
        block_frames=block_frames,
    )


def _block_frames(state: RunState, sweep: Sweep) -> int:
    """Length of a bootstrap block: as the sweep says, or well beyond the horizon of its fastest recording."""
    if sweep.report.block_frames is not None:
        return sweep.report.block_frames
    rates = [recording["fps"] for recording in state.facts.get("recordings", [])]
    return max([LEAST_BLOCK_FRAMES, *(HORIZONS_IN_A_BLOCK * sweep.labels.horizon_frames(fps) for fps in rates)])


def _too_little(test: HeldOut | None, state: RunState, sweep: Sweep) -> str:
    """Why a verdict cannot be given, with the numbers; empty if it can."""
    if sweep.data.split.test is None:
        return "the sweep has no test split"
    if test is None:
        stands = "has died" if state.status == "died" else f"is {state.status}"
        return f"the test split has not been scored (the run {stands})"
    if test.positives in (0, 1):
        return f"all {test.frames:,} frames of test are {'positive' if test.positives else 'negative'}"
    if test.events < LEAST_EVENTS:
        return f"only {test}; it takes at least {LEAST_EVENTS}"
    if test.blocks < LEAST_BLOCKS:
        return (
            f"only {test.frames:,} frames of test, {plural(test.blocks, 'block')} of {test.block_frames}; "
            f"intervals take at least {LEAST_BLOCKS}"
        )
    return ""


def _score(
    predictions: Predictions,
    baselines: tuple[str, ...],
    sweep: Sweep,
    block_frames: int,
    *,
    with_intervals: bool,
) -> tuple[dict[str, Estimate], dict[str, dict[str, Estimate]]]:
    """Test AUC of every predictor, and its difference to every baseline."""
    probability = {name: output for name, output in predictions.probability.items() if np.isfinite(output).all()}
    if not 0 < predictions.label.sum() < predictions.label.size:
        return {}, {}
    pairs = [(name, other) for name in probability for other in baselines if other in probability and other != name]
    over: dict[str, dict[str, Estimate]] = {name: {} for name in probability}
    if not with_intervals:
        test = {name: Estimate(roc_auc(predictions.label, output)) for name, output in probability.items()}
        for name, other in pairs:
            over[name][other] = Estimate(test[name].value - test[other].value)
        return test, over
    result = bootstrap_auc(
        predictions.label,
        probability,
        block_frames=block_frames,
        resamples=sweep.report.resamples,
        seed=sweep.seed,
    )
    for name, other in pairs:
        over[name][other] = result.difference(name, other)
    return {name: result.interval(name) for name in probability}, over


def _rows(
    state: RunState, sweep: Sweep, test: Mapping[str, Estimate], over: Mapping[str, dict[str, Estimate]]
) -> tuple[Row, ...]:
    metric = sweep.search.metric
    validation: dict[str, float | None] = {name: trial.best(metric) for name, trial in state.trials.items()}
    validation |= {name: scores[metric.removeprefix("validation_")] for name, scores in state.baselines.items()}

    def place(name: str) -> tuple[bool, bool, float, bool, str]:  # where they are equal, the baseline comes first
        value = validation[name]
        collapsed = name in state.trials and state.trials[name].collapsed
        return (value is None, collapsed, -(value or 0.0), name in state.trials, name)

    ordered = sorted(validation, key=place)
    ranked = [name for name in ordered if name in state.trials and validation[name] is not None]
    ranks = {name: number for number, name in enumerate(ranked, start=1)}
    rows = []
    for name in ordered:
        common: dict[str, Any] = {
            "predictor": name,
            "rank": ranks.get(name),
            "validation": validation[name],
            "test": test.get(name),
            "over": over.get(name, {}),
        }
        if name in state.trials:
            rows.append(Row(**common, **_trial_fields(state.trials[name], sweep)))
        else:
            folds = _of_folds(state.baseline_folds[name], metric)
            rows.append(Row(**common, **_baseline_fields(state.baselines[name]), folds=folds))
    return tuple(rows)


def _trial_fields(trial: TrialState, sweep: Sweep) -> dict[str, Any]:
    config = trial.config
    settings = config.settings.model_dump(mode="json")
    best = trial.results.get(trial.best_epoch or 0)
    return {
        "kind": "trial",
        "model": config.settings.model,
        "family": config.family,
        "settings": {name: settings[name] for name in sweep.families[config.family].space},
        "epochs": trial.epochs,
        "max_epochs": sweep.search.max_epochs,
        "status": trial.status,
        "reason": trial.reason,
        "validation_auc": best["validation_auc"] if best else None,
        "folds": _of_folds(best.get("folds", []) if best else [], sweep.search.metric),
        "best_epoch": trial.best_epoch,
        "collapsed": trial.collapsed,
    }


def _of_folds(folds: Iterable[Mapping[str, float]], metric: str) -> tuple[float, ...]:
    """A metric in each fold."""
    return tuple(scores[metric.removeprefix("validation_")] for scores in folds)


def _baseline_fields(scores: Mapping[str, float]) -> dict[str, Any]:
    return {
        "kind": "baseline",
        "model": "baseline",
        "family": "baselines",
        "settings": {},
        "epochs": 0,
        "max_epochs": 0,
        "status": "finished",
        "reason": "",
        "validation_auc": scores["auc"],
        "best_epoch": None,
        "collapsed": False,
    }


def _verdicts(leaders: list[Row], evidence: str) -> tuple[Verdict, ...]:
    return tuple(judge(row.predictor, row.over, "" if index else evidence) for index, row in enumerate(leaders))


def _published(predictions: Predictions, leaders: list[Row], test: Mapping[str, Estimate]) -> tuple[Published, ...]:
    chosen = [row.predictor for row in leaders[:1]] + [PUBLISHED]
    label, probability = predictions.label, predictions.probability
    return tuple(
        Published(
            name, test[name].value, max_accuracy(label, probability[name]), max_youden_j(label, probability[name])
        )
        for name in chosen
        if name in test
    )


def _unscored(state: RunState) -> list[str]:
    """Leaders that failed on the test split: the verdict is then without them."""
    return [
        f"{name} could not be scored on test: {trial.unscored}"
        for name, trial in state.trials.items()
        if trial.unscored
    ]


def _warnings(rows: tuple[Row, ...], metric: str) -> list[str]:
    warnings = []
    best = next((row for row in rows if row.rank == 1), None)
    if best and best.test and best.validation_auc is not None:
        gap = best.validation_auc - best.test.value
        if gap > LARGE_GAP:
            warnings.append(
                f"{best.predictor} scores {gap:.3f} less on test than on validation: part of its lead there "
                "was luck, or the two splits differ; a longer validation split steadies the choice"
            )
    persistence = next((row.validation for row in rows if row.predictor == PERSISTENCE), None)
    if best and best.validation is not None and persistence is not None and best.validation <= persistence:
        warnings.append(
            f"no trial is above {PERSISTENCE} on validation ({METRIC_NAMES[metric].removeprefix('validation ')} "
            f"{persistence:.3f}): none has learnt more than the last speed tells"
        )
    for row in rows:
        if row.collapsed and (row.rank == 1 or row.test):
            warnings.append(f"{row.predictor} has collapsed: its outputs hardly vary from frame to frame")
    if failed := [row.predictor for row in rows if row.status == "failed"]:
        trials = sum(row.kind == "trial" for row in rows)
        warnings.append(f"{len(failed)} of {plural(trials, 'trial')} failed: {shorten(failed, 60)}")
    return warnings
