"""A trial once more: what is compared with the journal, what is said of it, and what is refused."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fishray import __version__
from fishray.config.data import Folds
from fishray.config.sweep import Sweep
from fishray.errors import RunError, StoreError
from fishray.runs import Run
from fishray.runs.directory import SWEEP, provenance
from fishray.store import open_store
from fishray.training import Trainer
from fishray.tuning.replay import conclusion, replay
from fishray.tuning.single import with_data
from fishray.tuning.space import draw_trial

# Frames are a read-only memory map on purpose; networks copy from it and never write.
pytestmark = pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")

EPOCHS = 3
SMALL = {"steps_per_epoch": 2, "batch_size": 2, "judged_frames": 24}
FAMILIES = {
    "lstm": {"model": "lstm", "trials": 1, "fixed": SMALL | {"hidden": 3, "augment": "noise", "dropout": 0.2}},
    "convlstm": {
        "model": "convlstm",
        "trials": 1,
        "fixed": SMALL | {"filters": [2], "downsample": 4, "augment": "flips"},
    },
}


@pytest.fixture(autouse=True)
def threads():
    """A replay takes as many threads as its trial had; here it gives them back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sweep(tank_store):
    data = {"store": str(tank_store), "look_back": 24}
    # the tank moves by 0, 1 or 3 pixels a frame; a burst is a range of two of them
    labels = {"horizon": 10, "range_threshold": 2 * 2 * 6 * 200 / (255 * 24 * 32)}
    sweep = {"name": "tiny", "data": data, "labels": labels, "families": FAMILIES, "search": {"max_epochs": EPOCHS}}
    return Sweep.model_validate_json(json.dumps(sweep))


@pytest.fixture(scope="module")
def made_with(tank_store):
    store = open_store(tank_store)
    return provenance(store.fingerprint(store.names))


@pytest.fixture(scope="module")
def trained(sweep):
    """Three epochs of each family's first trial, as a sweep would write them down: its settings and its results."""

    def train(family):
        trial = draw_trial(sweep.seed, family, sweep.families[family], 0)

        def scores(data):
            trainer = Trainer(trial, data, torch.device("cpu"))
            return [trainer.run_epoch().as_dict() for _ in range(EPOCHS)]

        return trial, with_data(sweep, trial, scores)

    torch.set_num_threads(1)
    return {family: train(family) for family in FAMILIES}


@pytest.fixture
def write_run(tmp_path, sweep, made_with, trained):
    """Write a run of both trials; `change` gets each result before it is written, `begun` replaces provenance."""

    def write(change=lambda result: None, epochs=EPOCHS, **begun):
        run = Run.claim(tmp_path / "tiny")
        run.write_sweep(sweep, made_with | begun)
        run.journal.append("sweep", search=sweep.search.model_dump(mode="json", exclude_none=True), **made_with)
        for trial, results in trained.values():
            run.journal.append("trial", config=trial.model_dump(mode="json"))
            run.journal.append("attempt", trial=trial.id, attempt=1)
            for result in results[:epochs]:
                written = {"cpus": 1, "gpus": 0.0, **result}
                change(written)
                run.journal.append("result", trial=trial.id, attempt=1, **written)
        return run

    return write


def refuse(text):
    """Where nothing is to be said."""
    raise AssertionError(text)


def replayed(run, trial="lstm-0000", epochs=None, warn=refuse):
    told = []
    every = replay(run, trial, epochs, told.append, warn)
    assert told == every
    return every


def tree(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("trial", ["lstm-0000", "convlstm-0000"])
def test_a_trial_comes_out_again_to_the_last_bit_and_its_run_is_untouched(write_run, trained, trial):
    run = write_run()
    before = tree(run.path)
    every = replayed(run, trial)
    results = trained[trial.split("-")[0]][1]
    assert [each.value for each in every] == [result["validation_auc"] for result in results]
    assert [each.loss for each in every] == [result["loss"] for result in results]
    assert [str(each) for each in every] == ["equal"] * EPOCHS
    assert conclusion(every) == "equal to the journal in all 3 epochs"
    assert tree(run.path) == before


def test_a_trial_in_folds_comes_out_again_to_the_last_bit(tmp_path, sweep, made_with):
    folded = sweep.model_copy(update={"data": sweep.data.model_copy(update={"split": Folds(folds=3)})})
    run = Run.claim(tmp_path / "tiny")
    run.write_sweep(folded, made_with)
    trial = draw_trial(sweep.seed, "lstm", sweep.families["lstm"], 0)

    def train(data):
        trainer = Trainer(trial, data, torch.device("cpu"))
        return [trainer.run_epoch().as_dict() for _ in range(2)]

    torch.set_num_threads(1)
    run.journal.append("trial", config=trial.model_dump(mode="json"))
    for result in with_data(folded, trial, train):
        assert len(result["folds"]) == 3
        run.journal.append("result", trial=trial.id, attempt=1, cpus=1, gpus=0.0, **result)
    assert [str(each) for each in replayed(run)] == ["equal"] * 2


def test_a_value_that_does_not_come_out_is_named_with_its_difference(write_run):
    def tamper(result):
        result["validation_auc"] += {1: 0, 2: 2e-4, 3: -1e-4}[result["epoch"]]

    every = replayed(write_run(tamper))
    assert [str(each) for each in every] == ["equal", "differs by 2e-4", "differs by 1e-4"]
    assert conclusion(every) == "differs first in epoch 2, by 2e-4 at most"


def test_a_loss_that_does_not_come_out_is_no_equal_epoch(write_run):
    def tamper(result):
        result["loss"] += 3e-6 * (result["epoch"] == 3)

    every = replayed(write_run(tamper))
    assert [str(each) for each in every] == ["equal", "equal", "loss differs by 3e-6"]
    assert conclusion(every) == "differs first in epoch 3, in the loss alone, by 3e-6 at most"


def test_epochs_beyond_the_recorded_ones_have_nothing_to_compare_with(write_run):
    every = replayed(write_run(epochs=2), epochs=3)
    assert [each.recorded_value is None for each in every] == [False, False, True]
    assert [str(each) for each in every] == ["equal", "equal", ""]
    assert conclusion(every) == "equal to the journal in all 2 epochs"


def test_fewer_epochs_can_be_asked_for(write_run):
    every = replayed(write_run(), epochs=1)
    assert [each.epoch for each in every] == [1]
    assert conclusion(every) == "equal to the journal in epoch 1"


def test_a_trial_without_a_result_runs_one_epoch(write_run):
    every = replayed(write_run(epochs=0))
    assert [each.epoch for each in every] == [1]
    assert conclusion(every) == "the journal has none of these epochs"


def test_every_epoch_has_the_threads_that_it_had(write_run):
    run = write_run(lambda result: result.update(cpus=result["epoch"]))
    threads = []
    replay(run, "lstm-0000", 3, lambda _: threads.append(torch.get_num_threads()), refuse)
    assert threads == [1, 2, 3]


def test_other_versions_are_told_one_line_each_and_not_refused(write_run, made_with):
    packages = made_with["packages"]
    run = write_run(fishray="0.0.1", packages=packages | {"torch": "1.0.0"})
    run.journal.append("sweep", **made_with | {"packages": packages | {"torch": "1.1.0"}}, search={})  # a later driver
    told = []
    assert len(replayed(run, epochs=1, warn=told.append)) == 1
    assert told == [
        f"made with fishray 0.0.1, here {__version__}: scores may differ in their last digits",
        f"made with torch 1.0.0 and 1.1.0, here {packages['torch']}: scores may differ in their last digits",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_what_was_made_on_a_gpu_goes_on_on_the_cpu_and_says_so(write_run):
    run = write_run(lambda result: result.update(gpus=0.25))
    told = []
    assert [str(each) for each in replayed(run, warn=told.append)] == ["equal"] * EPOCHS
    assert told == [
        "made on a GPU, here on the CPU, for torch can use no GPU here: scores may differ in their last digits"
    ]


def test_other_data_are_refused_with_both_fingerprints(write_run, made_with):
    run = write_run(fingerprint="3f9a")
    with pytest.raises(RunError, match=f"3f9a → {made_with['fingerprint']}"):
        replayed(run)


def test_a_trial_that_took_over_weights_is_refused_and_its_donor_named(write_run):
    run = write_run()
    settings = run.trial("lstm-0000").config.settings.model_dump(mode="json")
    exchange = {"family": "lstm", "action": "exploit", "donor": "lstm-0000", "settings": settings}
    run.journal.append("decision", trial="lstm-0000", rung=1, **exchange)
    run.journal.append("decision", trial="lstm-0000", rung=2, **exchange | {"donor": "convlstm-0000"})
    run.journal.append("attempt", trial="lstm-0000", attempt=2)
    words = r"lstm-0000 took over the weights and settings of convlstm-0000 after epoch 2.*convlstm-0000 --epochs 2"
    with pytest.raises(RunError, match=words):
        replayed(run)
    assert replayed(run, "convlstm-0000", epochs=1)


def test_an_unknown_trial_is_refused_with_the_nearest(write_run):
    with pytest.raises(RunError, match="has no trial lstm-000; did you mean lstm-0000"):
        replayed(write_run(), "lstm-000")


def test_a_store_that_is_gone_is_named(write_run, sweep, made_with, tmp_path):
    run = write_run()
    missing = tmp_path / "gone.zarr"
    run.write_sweep(sweep.model_copy(update={"data": sweep.data.model_copy(update={"store": missing})}), made_with)
    assert str(missing) in (run.path / SWEEP).read_text()
    with pytest.raises(StoreError, match=r"gone\.zarr"):
        replayed(run)


def test_a_replay_needs_no_ray():
    script = [sys.executable, "-c", "import sys, fishray.tuning.replay; print('ray' in sys.modules)"]
    assert subprocess.run(script, capture_output=True, text=True, check=True).stdout == "False\n"
