"""What may change in the sweep of a run that exists, and what is refused, by the real command line."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fishray import cli
from fishray.config.loader import load_sweep
from fishray.errors import RunError
from fishray.runs import Run, leased
from fishray.runs.directory import provenance
from fishray.store import new_recording, open_store
from fishray.tuning.continuation import find_continuation, free_path, growth
from fishray.tuning.searchers import make_searcher
from fishray.tuning.space import plan_order

SWEEP = {
    "name": "mine",
    "data": {"store": "tank.zarr", "look_back": 90, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
    "labels": {"horizon": 10, "range_threshold": 0.01},
    "families": {
        "lstm": {
            "trials": 2,
            "space": {"learning_rate": {"loguniform": [0.001, 0.1]}},
            "fixed": {"hidden": 4},
            "resources": {"cpus": 1, "gpus": 0},
        },
        "gru": {"model": "lstm", "trials": 2, "fixed": {"cell": "gru"}},
    },
    "search": {"max_epochs": 9},
}
FRAMES = 1000


def changed(*path_and_value):
    """The sweep with one setting changed; None takes it away."""
    *path, last, value = path_and_value
    sweep = json.loads(json.dumps(SWEEP))
    place = sweep
    for key in path:
        place = place.setdefault(key, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return sweep


def write_sweep(sweep):
    Path("mine.yaml").write_text(json.dumps(sweep))  # JSON is YAML


def write_store(path, seed):
    origin = {"fps": 30.0, "source": "fish.npy", "source_sha256": str(seed), "settings": {}, "fishray": "0"}
    with new_recording(Path(path), "fish", origin) as writer:
        writer.finish(np.random.default_rng(seed).exponential(0.1, FRAMES - 1))


def tree(folder):
    """Content of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the sweep that was stopped before its first trial, in the current folder with its store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    write_store("tank.zarr", 0)
    write_sweep(SWEEP)
    run = Run.claim(Path("runs/mine"))
    run.write_sweep(load_sweep(Path("mine.yaml")), provenance(open_store(Path("tank.zarr")).fingerprint(("fish",))))
    run.journal.append("sweep", command="fishray tune mine.yaml")
    run.journal.append("finish", status="interrupted", reason="stopped by the user")
    return run


@pytest.fixture
def refused(run, monkeypatch, capsys):
    """Try to go on; what is said, and the claim that nothing has changed."""

    def tune(*words):
        before = tree(run.path)
        monkeypatch.setattr(sys, "argv", ["fishray", "tune", "mine.yaml", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert tree(run.path) == before
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("fishray: ")
        assert "Traceback" not in err
        return err

    return tune


REFUSED = {
    "fewer trials": (("families", "lstm", "trials", 1), "families.lstm.trials  2 → 1"),
    "fewer epochs": (("search", "max_epochs", 8), "search.max_epochs  9 → 8"),
    "a family removed": (("families", "gru", None), "families.gru  {'model': 'lstm', 'trials': 2,"),
    "another space": (
        ("families", "lstm", "space", "learning_rate", {"loguniform": [0.001, 0.2]}),
        "families.lstm.space.learning_rate.loguniform  [0.001, 0.1] → [0.001, 0.2]",
    ),
    "a setting more in the space": (
        ("families", "gru", "space", {"hidden": {"choice": [4, 8]}}), "families.gru.space.hidden  – → {"
    ),
    "another fixed value": (("families", "lstm", "fixed", "hidden", 8), "families.lstm.fixed.hidden  4 → 8"),
    "a fixed value less": (("families", "lstm", "fixed", "hidden", None), "families.lstm.fixed.hidden  4 → –"),
    "another model": (("families", "gru", {"model": "convlstm", "trials": 2}), "families.gru.model"),
    "another seed": (("seed", 3), "seed  0 → 3"),
    "other labels": (("labels", "horizon", 12), "labels.horizon  10 → 12"),
    "another split": (
        ("data", "split", {"train": 0.5, "validation": 0.3, "test": 0.2}), "data.split.train       0.6 → 0.5"
    ),
    "no test split": (("data", "split", {"train": 0.8, "validation": 0.2}), "data.split.test   0.2 → –"),
    "another look-back": (("data", "look_back", 100), "data.look_back  90 → 100"),
    "another searcher": (("search", "searcher", "tpe"), "search.searcher  random → tpe"),
    "another scheduler": (("search", "scheduler", "median"), "search.scheduler  asha → median"),
    "another grace": (("search", "grace_epochs", 2), "search.grace_epochs  1 → 2"),
    "another reduction": (("search", "reduction_factor", 4), "search.reduction_factor  3 → 4"),
    "another metric": (
        ("search", "metric", "validation_youden_j"), "search.metric  validation_auc → validation_youden_j"
    ),
    "another report": (("report", "leaders", 5), "report.leaders  3 → 5"),
    "recordings chosen": (("data", "recordings", ["fish"]), "data.recordings  – → ['fish']"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED)
def test_a_sweep_that_would_give_other_results_is_refused_with_the_difference(refused, change, says):
    write_sweep(changed(*change))
    err = refused()
    assert err.startswith("fishray: runs/mine has other settings:\n")
    assert says in err
    assert err.endswith("start over beside it: --fresh\n")


def test_every_difference_is_told_at_once(refused):
    err = refused("--set", "seed=3", "--set", "labels.horizon=12", "--set", "families.lstm.trials=4")
    assert [" ".join(line.split()) for line in err.splitlines()[1:-1]] == ["seed 0 → 3", "labels.horizon 10 → 12"]


def test_other_data_is_refused_with_both_fingerprints(run, refused):
    before = run.resolved()[1]["fingerprint"]
    Path("tank.zarr").rename("earlier.zarr")
    write_store("tank.zarr", 1)
    now = open_store(Path("tank.zarr")).fingerprint(("fish",))
    err = refused()
    assert err.startswith("fishray: runs/mine was begun on other data:\n")
    assert f"{before} → {now}" in err
    assert err.endswith("start over beside it: --fresh\n")


def test_a_run_that_another_process_holds_is_refused_with_that_process(run, refused):
    with leased(run.path) as lease:
        err = refused()
    assert err == f"fishray: runs/mine is in use on {lease.holder}; see it: fishray status runs/mine --follow\n"


def test_a_folder_that_is_no_run_is_refused(run, refused):
    (run.path / "sweep.yaml").unlink()
    for path in run.path.glob("lease-*"):
        path.unlink()
    assert refused() == "fishray: runs/mine is there and is no run; choose another name: --set name=NAME\n"


ALLOWED = {
    "nothing": ((), []),
    "more trials": (("families", "lstm", "trials", 5), ["lstm: 2 → 5 trials"]),
    "more epochs": (("search", "max_epochs", 27), ["9 → 27 epochs"]),
    "a new family": (("families", "third", {"model": "lstm", "trials": 1}), ["third: a new family"]),
    "other resources": (("families", "lstm", "resources", {"cpus": 2, "gpus": 0.5, "retries": 0}), []),
}


@pytest.mark.parametrize(("change", "grown"), ALLOWED.values(), ids=ALLOWED)
def test_a_run_may_grow_and_run_with_other_resources(run, change, grown):
    wanted = changed(*change) if change else SWEEP
    write_sweep(wanted)
    before = tree(run.path)
    loaded = load_sweep(Path("mine.yaml"))
    assert growth(run, loaded) == grown
    found = find_continuation(run.path, loaded)
    assert (found.grown, found.state.status, found.is_finished) == (grown, "interrupted", False)
    assert tree(run.path) == before


def test_a_run_that_is_finished_is_so_until_it_grows(run):
    loaded = load_sweep(Path("mine.yaml"))
    run.journal.append("sweep", search=loaded.search.model_dump(mode="json"))
    searcher = make_searcher(loaded)
    for name, number in plan_order(loaded):
        run.journal.append("trial", config=searcher.draw(name, number, ()).model_dump(mode="json"))
    run.journal.append("finish", status="finished")
    assert find_continuation(run.path, loaded).is_finished
    for longer in (changed("search", "max_epochs", 27), changed("families", "lstm", "trials", 9)):
        write_sweep(longer)
        wanted = load_sweep(Path("mine.yaml"))
        assert not find_continuation(run.path, wanted).is_finished
        run.write_sweep(wanted, run.resolved()[1])  # a driver that dies behind this has not begun to grow it
        assert not find_continuation(run.path, wanted).is_finished
        run.write_sweep(loaded, run.resolved()[1])


def test_where_no_run_is_a_new_one_starts(run):
    assert find_continuation(Path("runs/other"), load_sweep(Path("mine.yaml"))) is None


def test_one_refusal_hides_no_growth_and_none_is_granted_beside_it(run):
    write_sweep(changed("search", {"max_epochs": 27, "reduction_factor": 2}))
    with pytest.raises(RunError, match="reduction_factor  3 → 2") as caught:
        growth(run, load_sweep(Path("mine.yaml")))
    assert "max_epochs" not in str(caught.value)


def test_a_fresh_start_goes_to_the_first_free_name(tmp_path):
    assert free_path(tmp_path / "mine").name == "mine"
    for name in ("mine", "mine-2", "mine-4"):
        (tmp_path / name).mkdir()
    assert free_path(tmp_path / "mine").name == "mine-3"
