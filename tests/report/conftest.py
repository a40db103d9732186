import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from fishray.config.sweep import Sweep
from fishray.config.trial import MODELS, TrialConfig
from fishray.runs import Predictions, Run, journal
from fishray.runs.directory import provenance

FACTS = {
    "recordings": [{"name": "tank", "fps": 30.0, "frames": 14_400, "positives": 1890}],
    "positives": 0.131,
    "duration_s": 480.0,
    "cpus": 2,
    "gpus": 0,
    "gpu_name": "",
    "fingerprint": "3f9a0c11d2c2",
    "store": "tank.zarr",
}

SWEEP = {
    "name": "small",
    "data": {"store": "data/tank.zarr"},
    "families": {
        "lstm": {
            "model": "lstm",
            "trials": 4,
            "space": {
                "learning_rate": {"loguniform": [0.003, 0.05]},
                "hidden": {"choice": [8, 16, 32]},
                "class_weight": {"uniform": [0, 1]},
            },
        },
        "convlstm": {
            "model": "convlstm",
            "trials": 2,
            "space": {
                "learning_rate": {"loguniform": [0.001, 0.03]},
                "filters": {"choice": [[4], [8]]},
                "augment": {"choice": ["none", "flips"]},
            },
        },
    },
}

BASELINES = {
    "persistence": {"auc": 0.852, "average_precision": 0.41, "youden_j": 0.55},
    "refitted algorithm": {"auc": 0.841, "average_precision": 0.39, "youden_j": 0.53},
    "published algorithm": {"auc": 0.790, "average_precision": 0.30, "youden_j": 0.46},
}


@dataclass
class Clock:
    """A time that tests move by hand."""

    now_s: float = 1_777_900_000.0

    def time(self):
        return self.now_s


@dataclass
class Story:
    """A run whose journal is told event by event."""

    run: Run
    clock: Clock
    records: list = field(default_factory=list)

    def tell(self, event, after_s=1.0, **fields):
        self.clock.now_s += after_s
        self.records.append(self.run.journal.append(event, **fields))
        return self.records[-1]

    def sweep(self, **facts):
        self.tell("sweep", **FACTS | facts)

    def baselines(self):
        for name, scores in BASELINES.items():
            self.tell("baseline", name=name, scores=scores)

    def trial(self, trial_id, **settings):
        family, number = trial_id.rsplit("-", 1)
        model = settings.pop("model", family)
        config = TrialConfig(
            id=trial_id, family=family, number=int(number), seed=int(number), settings=MODELS[model](**settings)
        )
        self.tell("trial", config=config.model_dump(mode="json"))

    def start(self, trial_id):
        self.tell("attempt", trial=trial_id, attempt=1, host="tank-pc", pid=4711)

    def epochs(self, trial_id, *aucs, collapsed=False, epoch_s=4.0, first=1):
        for epoch, auc in enumerate(aucs, start=first):
            self.tell(
                "result",
                after_s=epoch_s,
                trial=trial_id,
                epoch=epoch,
                loss=0.5 / epoch,
                validation_auc=auc,
                validation_average_precision=auc / 2,
                validation_youden_j=2 * auc - 1.2,
                best_epoch=first + int(np.argmax(aucs[: epoch - first + 1])),
                collapsed=collapsed,
                labels_per_s=412.4,
                epoch_s=epoch_s,
                cpus=1,
            )

    def stop(self, trial_id, rung, value, needed):
        family = trial_id.rsplit("-", 1)[0]
        self.tell(
            "decision", trial=trial_id, family=family, rung=rung, action="stop", value=value, needed=needed, after_s=0
        )
        self.end(trial_id, "stopped", f"stopped at rung {rung} ({value:.3f}, needed {needed:.3f})")

    def end(self, trial_id, status="finished", reason="reached 9 epochs"):
        self.tell("end", trial=trial_id, status=status, reason=reason, after_s=0)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(journal, "time", SimpleNamespace(time=clock.time))
    return clock


@pytest.fixture
def new_run(tmp_path, monkeypatch, clock):
    """Begin a run in runs/small; keyword arguments change the sweep."""
    monkeypatch.chdir(tmp_path)

    def begin(**changes):
        sweep = Sweep.model_validate_json(json.dumps({**SWEEP, **changes}))
        run = Run.claim(Path("runs/small"))
        run.write_sweep(sweep, provenance(FACTS["fingerprint"]))
        return Story(run, clock)

    return begin


@pytest.fixture
def trained(new_run):
    """Tell a whole sweep up to its end; the test split is left to `score`."""

    def tell(**changes):
        story = new_run(**changes)
        story.sweep()
        story.baselines()
        story.trial("convlstm-0000", learning_rate=0.021, filters=(4,), augment="none")
        story.trial("convlstm-0001", learning_rate=0.004, filters=(8,), augment="flips")
        story.trial("lstm-0000", learning_rate=0.012, hidden=32, class_weight=0.6)
        story.trial("lstm-0001", learning_rate=0.0031, hidden=8, class_weight=0.05)
        story.trial("lstm-0002", learning_rate=0.049, hidden=16, class_weight=0.9)
        story.trial("lstm-0003", learning_rate=0.049, hidden=16, class_weight=0.9)
        story.start("convlstm-0000")
        story.epochs("convlstm-0000", 0.79, 0.81, 0.822)
        story.stop("convlstm-0000", 3, 0.822, 0.846)
        story.start("convlstm-0001")
        story.epochs("convlstm-0001", 0.80, 0.83, 0.86, 0.87, 0.88, 0.881, 0.883, 0.882, 0.88)
        story.end("convlstm-0001")
        story.start("lstm-0000")
        story.epochs("lstm-0000", 0.81, 0.84, 0.85, 0.86, 0.868, 0.87, 0.871, 0.870, 0.869, epoch_s=1.0)
        story.end("lstm-0000")
        story.start("lstm-0001")
        story.epochs("lstm-0001", 0.71, epoch_s=1.0)
        story.stop("lstm-0001", 1, 0.71, 0.81)
        story.start("lstm-0002")
        story.epochs("lstm-0002", 0.52, collapsed=True, epoch_s=1.0)
        story.stop("lstm-0002", 1, 0.52, 0.81)
        story.start("lstm-0003")
        story.end("lstm-0003", "failed", "RuntimeError: loss is not a number at step 12, learning rate 4.9e-2")
        return story

    return tell


@pytest.fixture
def score():
    """Give a run test predictions: each predictor's output is the label times its strength, in noise."""

    def write(story, strengths=None, frames=2880, events=41):
        strengths = strengths or {
            "persistence": 1.5,
            "refitted algorithm": 1.45,
            "published algorithm": 1.1,
            "convlstm-0001": 1.9,
            "lstm-0000": 1.52,
        }
        rng = np.random.default_rng(0)
        label = np.zeros(frames, np.int8)
        for event in range(events):
            start = event * frames // events
            label[start : start + 9] = 1
        noise = rng.normal(size=frames)
        probability = {
            name: (1 / (1 + np.exp(3 - strength * label - noise - 0.3 * rng.normal(size=frames)))).astype(np.float32)
            for name, strength in strengths.items()
        }
        predictions = Predictions(
            label=label,
            recording=("tank",),
            recording_index=np.zeros(frames, np.int32),
            frame=np.arange(11_520, 11_520 + frames),
            probability=probability,
        )
        story.tell("scoring", what="5 predictors on test")
        story.run.write_predictions({"test": predictions})
        story.tell("finish", status="finished", reason="all trials have ended")
        return predictions

    return write


@pytest.fixture
def shown():
    """Print something as into a file of a width, and return the text."""

    def show(print_to, width=100):
        text = io.StringIO()
        print_to(Console(width=width, file=text))
        return text.getvalue()

    return show
