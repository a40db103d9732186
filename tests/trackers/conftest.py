"""A sweep of two trials, told event by event."""

import json
from collections.abc import Callable

import pytest

from fishray.config.sweep import Sweep
from fishray.config.trial import LstmSettings, TrialConfig
from fishray.trackers import open_trackers

BEGUN_S = 1_000.0
PATIENCE_S = 100.0
"""Long enough for a database on a busy machine; a tracker that comes to its end is not waited for."""


class Story:
    """Events of a journal: two trials, of which the first runs three epochs and the second fails in its second."""

    def __init__(self):
        self.now_s = BEGUN_S - 1

    def __call__(self, event, **fields):
        self.now_s += 1
        return {"time": self.now_s, "event": event, "generation": 1, **fields}

    def begin(self):
        facts = {"fingerprint": "3f9a", "cpus": 2, "valid_frames": {"train": 600}, "recordings": [{"name": "tank-1"}]}
        scores = {"auc": 0.5, "youden_j": 0.25}
        return [
            self("sweep", name="mine", **facts),
            self("baseline", name="persistence", scores=scores),
            self.trial(0),
            self.trial(1),
        ]

    def trial(self, number):
        settings = LstmSettings(hidden=8)
        config = TrialConfig(id=f"lstm-{number}", family="lstm", number=number, seed=40 + number, settings=settings)
        return self("trial", config=config.model_dump(mode="json"))

    def attempt(self, trial, number=1):
        return self("attempt", trial=trial, attempt=number)

    def result(self, trial, epoch, auc):
        scores = {"validation_auc": auc, "validation_average_precision": 0.25, "validation_youden_j": 0.125}
        rest = {"best_epoch": epoch, "collapsed": False, "labels_per_s": 64.0, "epoch_s": 2.0, "cpus": 1}
        return self("result", trial=trial, epoch=epoch, loss=1 / 2**epoch, **scores, **rest)

    def whole(self):
        return [
            *self.begin(),
            self.attempt("lstm-0"),
            self.result("lstm-0", 1, 0.5),
            self.attempt("lstm-1"),
            self.result("lstm-1", 1, 0.625),
            self.result("lstm-0", 2, 0.875),
            self("end", trial="lstm-1", status="failed", reason="out of memory"),
            self.result("lstm-0", 3, 0.75),
            self("end", trial="lstm-0", status="finished", reason=""),
            self("scoring", what="1 leader"),
            self("finish", status="finished", reason=""),
        ]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def make_sweep() -> Callable[..., Sweep]:
    """A sweep with some trackers."""

    def make(**trackers):
        data = {"store": "tank.zarr"}
        families = {"lstm": {"model": "lstm", "trials": 2}}
        search = {"max_epochs": 3}
        sweep = {"name": "mine", "data": data, "families": families, "search": search, "trackers": trackers}
        return Sweep.model_validate_json(json.dumps(sweep))

    return make


@pytest.fixture
def run_path(tmp_path):
    path = tmp_path / "runs" / "mine"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def track(run_path):
    """Tell events to the trackers of a sweep, as one process would; nothing may be said."""

    def tell(sweep, events, past=()):
        said = []
        with open_trackers(run_path, sweep, past, said.append, patience_s=PATIENCE_S) as trackers:
            for event in events:
                trackers.on_event(event)
        assert said == []

    return tell
