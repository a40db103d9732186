import gc
import json
import os
import shutil
import tempfile
import weakref

import pytest
import torch

from fishray import training
from fishray.config.data import Folds
from fishray.config.sweep import Sweep
from fishray.files import previous
from fishray.runs import Run, TrialState
from fishray.runs.directory import provenance
from fishray.sequences.recordings import find_recordings
from fishray.store import fingerprint
from fishray.training import learner
from fishray.tuning.driver import Attempt
from fishray.tuning.node import Node
from fishray.tuning.space import draw_trial
from fishray.tuning.trainable import TrialTrainable, attempt_arguments, describe_failure, ends_its_process, fits
from hpc.settings import NODE_END

# Frames are a read-only memory map on purpose; networks copy from it and never write.
pytestmark = pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")

SMALL = {"steps_per_epoch": 2, "batch_size": 2, "judged_frames": 24, "warmup_steps": 0}
TOO_COARSE = 64
"""More pixels than a frame of the tank is high or wide."""
FAMILIES = {
    "lstm": {
        "trials": 3,
        "space": {"hidden": {"choice": [3, 4]}},
        "fixed": SMALL | {"augment": "noise", "dropout": 0.2},
    },
    "convlstm": {"trials": 3, "fixed": SMALL | {"filters": [2], "downsample": 4, "augment": "flips"}},
    "broken": {"model": "convlstm", "trials": 1, "fixed": SMALL | {"downsample": TOO_COARSE}},
}
TIMES = {"labels_per_s", "epoch_s"}
TRIAL = "lstm-0000"


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory):
    """A trainable owns its process; here it gives back threads and file mode, and its scratch is the tests'."""
    gc.freeze()  # a process collects its garbage at each reset; here only what the tests make
    threads, mask = torch.get_num_threads(), os.umask(0o022)
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("scratch")
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder
    gc.unfreeze()
    torch.set_num_threads(threads)
    os.umask(mask)


@pytest.fixture(scope="module")
def new_run(tank_store, tmp_path_factory):
    """Begin a run in a folder of its own."""
    families = {name: {"model": name, **family} for name, family in FAMILIES.items()}
    data = {"store": str(tank_store), "look_back": 24}
    # the tank moves by 0, 1 or 3 pixels a frame; a burst is a range of two of them
    labels = {"horizon": 10, "range_threshold": 2 * 2 * 6 * 200 / (255 * 24 * 32)}
    sweep = {"name": "tiny", "data": data, "labels": labels, "families": families}
    checked = Sweep.model_validate_json(json.dumps(sweep))

    def begin(**data):
        run = Run.claim(tmp_path_factory.mktemp("runs") / "tiny")
        settings = checked.data.model_copy(update=data)
        made_with = provenance(fingerprint(find_recordings(settings)))
        run.write_sweep(checked.model_copy(update={"data": settings}), made_with)
        return run

    return begin


@pytest.fixture(scope="module")
def undisturbed(new_run):
    """Four epochs of each family's first trial, in a process of its own."""

    def train(family):
        trainable = TrialTrainable(granted(new_run(), family))
        results = scores(trainable, epochs=4)
        trainable.cleanup()
        return results

    return {family: train(family) for family in ("lstm", "convlstm")}


@pytest.fixture
def process():
    """Make a process that trains; it ends with the test, unless it was killed."""
    made = []

    def make(config):
        made.append(TrialTrainable(config))
        return made[-1]

    yield make
    for trainable in made:
        trainable.cleanup()


def granted(run, family, number=0, attempt=1, epochs=0, since=0):
    """Prepare an attempt as the driver does; what its process is told."""
    sweep, _ = run.resolved()
    trial = draw_trial(sweep.seed, family, sweep.families[family], number)
    checkpoint = run.prepare_attempt(trial.id, attempt, (trial.id, attempt - 1) if attempt > 1 else None)
    told = TrialState(trial, results={epoch: {} for epoch in range(1, epochs + 1)}, since=since)
    return attempt_arguments(sweep, run, Attempt(told, attempt, checkpoint, "worker-1"), Node(2, ()), 0) | {"gpus": 0}


def scores(trainable, epochs=2):
    """Results of epochs, without what depends on the clock or on where they ran."""
    results = [trainable.step() for _ in range(epochs)]
    return [{key: value for key, value in each.items() if key not in TIMES} for each in results]


@pytest.mark.parametrize("family", ["lstm", "convlstm"])
@pytest.mark.parametrize("before", ["lstm", "convlstm", "broken"])
def test_a_reused_process_scores_exactly_as_a_fresh_one(new_run, process, undisturbed, before, family):
    run = new_run()
    reused = process(granted(run, before, FAMILIES[before]["trials"] - 1))
    first = scores(reused)
    assert reused.reset_config(granted(run, family))
    again = scores(reused)
    assert again == undisturbed[family][:2]
    assert again != first


@pytest.mark.parametrize("family", ["lstm", "convlstm"])
def test_a_reset_frees_the_model(new_run, process, monkeypatch, family):
    made = []

    def build(settings, build=learner.build_network):
        network = build(settings)
        made.append(weakref.ref(network))
        return network

    monkeypatch.setattr(learner, "build_network", build)
    run = new_run()
    trainable = process(granted(run, family))
    trainable.step()
    assert [network() is None for network in made] == [False]
    trainable.reset_config(granted(run, family, 1))
    assert [network() is None for network in made] == [True]
    trainable.step()
    trainable.cleanup()
    assert [network() is None for network in made] == [True, True]


def test_what_a_process_has_imported_is_not_looked_through_again_at_the_next_reset(new_run, process):
    run = new_run()
    trainable = process(granted(run, "lstm"))
    trainable.step()
    gc.unfreeze()  # as in a process of its own
    imported = len(gc.get_objects())
    trainable.reset_config(granted(run, "lstm", 1))
    assert len(gc.get_objects()) < imported / 100


def test_where_frames_have_no_room_a_process_says_so_once_and_trains_from_the_store(new_run, process, monkeypatch):
    expected = process(granted(new_run(), "convlstm")).step()
    monkeypatch.setattr("fishray.sequences.cache._fill", lambda *_: None)
    run = new_run()
    trainable = process(granted(run, "convlstm"))
    result = trainable.step()
    assert result["notice"].startswith("the frames of tank-1, tank-2, tank-3 are read from the store, which takes")
    assert result["validation_auc"] == expected["validation_auc"]
    trainable.reset_config(granted(run, "convlstm", 1))
    assert trainable.step()["notice"] == ""


def test_a_trial_that_raises_is_reported_with_its_traceback_and_the_next_one_runs(new_run, process):
    run = new_run()
    trainable = process(granted(run, "broken"))
    result = trainable.step()
    assert set(result) == {"failed", "traceback"}
    assert result["failed"].startswith("RuntimeError: ")
    assert result["traceback"].startswith("Traceback (most recent call last)")
    assert "run_epoch" in result["traceback"] or "Trainer(" in result["traceback"]
    assert result["traceback"].rstrip().splitlines()[-1].startswith("RuntimeError")
    assert not run.checkpoint_path("broken-0000", 1).exists()
    trainable.reset_config(granted(run, "lstm"))
    assert trainable.step()["epoch"] == 1


def test_a_failure_is_not_called_done_because_tune_would_then_not_ask_the_scheduler(new_run, process):
    assert "done" not in process(granted(new_run(), "broken")).step()


def test_an_epoch_that_raises_ends_the_trial_alone(new_run, process, monkeypatch):
    run = new_run()
    trainable = process(granted(run, "lstm"))
    trainable.step()
    with monkeypatch.context() as broken:
        broken.setattr(training.Trainer, "save", lambda *_: [][0])
        assert trainable.step()["failed"] == "IndexError: list index out of range"
    trainable.reset_config(granted(run, "lstm", 1))
    assert trainable.step()["epoch"] == 1


def test_storage_that_fails_is_no_fault_of_the_trial(new_run, process):
    run = new_run()
    trainable = process(granted(run, "lstm"))
    trainable.step()
    shutil.rmtree(run.trial_path(TRIAL))
    path = run.checkpoint_path(TRIAL, 1)
    assert trainable.step() == {"storage": f"{path} cannot be written (No such file or directory)"}


def test_storage_that_has_failed_before_a_trial_begins_is_told_in_the_same_words(new_run, process):
    run = new_run()
    trainable = process(granted(run, "lstm"))
    shutil.rmtree(run.trial_path(TRIAL))
    path = run.checkpoint_path(TRIAL, 1).with_name("last-words")
    assert trainable.step() == {"storage": f"{path} cannot be written (No such file or directory)"}


def test_data_that_is_gone_is_no_fault_of_the_trial(new_run, process):
    run = new_run()
    sweep, made_with = run.resolved()
    gone = sweep.data.model_copy(update={"store": run.path / "gone.zarr"})
    run.write_sweep(sweep.model_copy(update={"data": gone}), made_with)
    assert list(process(granted(run, "lstm")).step()) == ["storage"]


def test_a_recording_that_came_later_does_not_slip_in(new_run, process, tank_store, tmp_path):
    store = tmp_path / "grows.zarr"
    shutil.copytree(tank_store, store)
    run = new_run(store=store, recordings=("tank-*",))
    assert process(granted(run, "lstm")).step()["epoch"] == 1
    shutil.copytree(store / "tank-1", store / "spare")  # not chosen
    assert process(granted(run, "lstm", 1)).step()["epoch"] == 1
    shutil.copytree(store / "tank-1", store / "tank-4")
    result = process(granted(run, "lstm", 2)).step()
    assert list(result) == ["storage"]
    assert "grows.zarr has other recordings than when the sweep began" in result["storage"]


def test_a_process_without_memory_dies_with_its_reason_so_that_the_trial_is_tried_again(new_run, process, monkeypatch):
    run = new_run()
    trainable = process(granted(run, "lstm"))
    trainable.step()

    def exhaust(trainer):
        raise MemoryError("Unable to allocate 2 TiB")

    monkeypatch.setattr(training.Trainer, "run_epoch", exhaust)
    with pytest.raises(MemoryError):
        trainable.step()
    words = run.checkpoint_path(TRIAL, 1).with_name("last-words")
    assert words.read_text() == "MemoryError: Unable to allocate 2 TiB"


@pytest.mark.parametrize("family", ["lstm", "convlstm"])
def test_a_second_attempt_goes_on_with_the_scores_of_an_undisturbed_one(new_run, process, undisturbed, family):
    run = new_run()
    killed = scores(process(granted(run, family)), epochs=2)
    again = scores(process(granted(run, family, attempt=2, epochs=2)), epochs=2)
    assert killed + again == undisturbed[family]
    assert [each["epoch"] for each in again] == [3, 4]


@pytest.mark.parametrize("family", ["lstm", "convlstm"])
def test_a_second_attempt_of_a_trial_in_folds_goes_on_as_an_undisturbed_one(new_run, process, family):
    split = Folds(folds=3)
    undisturbed = scores(process(granted(new_run(split=split), family)), epochs=4)
    run = new_run(split=split)
    killed = scores(process(granted(run, family)), epochs=2)
    again = scores(process(granted(run, family, attempt=2, epochs=2)), epochs=2)
    assert killed + again == undisturbed
    assert [len(each["folds"]) for each in undisturbed] == [3] * 4


def test_an_attempt_that_died_before_its_first_epoch_costs_none(new_run, process):
    run = new_run()
    process(granted(run, "lstm")).step()
    granted(run, "lstm", attempt=2, epochs=1)
    assert process(granted(run, "lstm", attempt=3, epochs=1)).step()["epoch"] == 2


def test_an_epoch_that_was_saved_and_never_told_is_told_and_not_run_again(new_run, process):
    run = new_run()
    trainable = process(granted(run, "lstm"))
    told, untold = trainable.step(), trainable.step()
    again = process(granted(run, "lstm", attempt=2, epochs=1))
    assert again.step() == untold  # to the very seconds that it took
    assert again.step()["epoch"] == untold["epoch"] + 1 == told["epoch"] + 2


def test_a_damaged_checkpoint_costs_an_epoch_and_is_told(new_run, process, undisturbed):
    run = new_run()
    assert [each["notice"] for each in scores(process(granted(run, "lstm")))] == ["", ""]
    config = granted(run, "lstm", attempt=2, epochs=2)
    path = run.checkpoint_path(TRIAL, 2)
    path.write_bytes(path.read_bytes()[:-1])
    again = scores(process(config), epochs=3)
    assert again[0]["notice"].startswith(f"{path} is damaged (")
    assert again[0]["notice"].endswith("; it goes on from epoch 1")
    assert [each["notice"] for each in again[1:]] == ["", ""]
    assert [each | {"notice": ""} for each in again] == undisturbed["lstm"][1:]


def test_attempts_have_directories_of_their_own_so_that_a_cut_off_twin_harms_nothing(new_run, process):
    run = new_run()
    twin = process(granted(run, "lstm"))
    twin.step()
    second = process(granted(run, "lstm", attempt=2, epochs=1))
    path = run.checkpoint_path(TRIAL, 2)
    for step in (lambda: None, second.step):
        step()
        kept = [each.read_bytes() for each in (path, previous(path)) if each.exists()]
        twin.step()
        twin.step()
        assert [each.read_bytes() for each in (path, previous(path)) if each.exists()] == kept
    assert sorted(each.name for each in run.trial_path(TRIAL).iterdir()) == ["attempt-1", "attempt-2"]


def test_a_process_that_is_made_but_never_steps_leaves_no_trace(new_run, process):
    run = new_run()
    first, second = granted(run, "convlstm"), granted(run, "lstm")
    before = sorted(run.path.rglob("*"))
    spare = process(first)
    spare.reset_config(second)
    spare.cleanup()
    assert sorted(run.path.rglob("*")) == before


def test_the_frames_are_gone_when_the_last_process_lets_go(new_run, process, scratch):
    run = new_run()
    trainable = process(granted(run, "convlstm"))
    trainable.step()
    assert list(scratch.glob("hpc-*/*/*.npy"))
    trainable.cleanup()
    assert list(scratch.glob("hpc-*/*")) == []


def test_a_process_takes_one_thread_for_each_cpu(new_run, process):
    torch.set_num_threads(2)
    process(granted(new_run(), "lstm")).step()
    assert torch.get_num_threads() == 1


def test_files_of_a_trial_are_for_their_owner_alone(new_run, process):
    run = new_run()
    process(granted(run, "lstm")).step()
    kept = list(run.checkpoint_path(TRIAL, 1).parent.iterdir())
    assert sorted(path.name for path in kept) == ["checkpoint", "last-words"]
    assert [path.name for path in kept if path.stat().st_mode & 0o077] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to be used")
def test_a_gpu_that_was_asked_for_and_is_not_there_is_no_fault_of_the_trial(new_run, process):
    result = process(granted(new_run(), "lstm") | {"gpus": 0.5}).step()
    assert result["unfit"].startswith("a GPU was asked for, but torch can use none here")


def test_a_model_that_does_not_fit_is_called_too_large_for_its_share():
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has 10 GiB")
    assert describe_failure(error) == (
        "model too large for its GPU share: CUDA out of memory. Tried to allocate 20.00 GiB."
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_a_model_larger_than_its_share_of_a_real_gpu_is_called_so(new_run, process):
    run = new_run()
    config = granted(run, "convlstm")
    config["trial"]["settings"] |= {"filters": [4096], "downsample": 1, "precision": "float32"}
    trainable = process(config | {"gpus": 0.01})
    with pytest.raises(torch.cuda.OutOfMemoryError):  # another attempt may have more
        trainable.step()
    words = run.checkpoint_path("convlstm-0000", 1).with_name("last-words").read_text()
    assert words.startswith("model too large for its GPU share: ")
    held = torch.cuda.memory_allocated()
    trainable.reset_config(granted(run, "lstm") | {"gpus": 0.01})
    assert torch.cuda.memory_allocated() <= held
    assert trainable.step()["epoch"] == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("first line\nsecond line"), "ValueError: first line"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_other_failures_are_their_type_and_first_line(error, words):
    assert describe_failure(error) == words


@pytest.mark.parametrize(("left_s", "fits_in"), [(130.1, True), (129.9, False), (-1.0, False)])
def test_another_epoch_is_begun_if_the_node_lives_a_third_longer_than_the_last_one_took(tmp_path, left_s, fits_in):
    told = tmp_path / "node-end"
    told.write_text(repr(1000.0 + left_s))
    assert fits(100.0, {NODE_END: str(told)}, now_s=1000.0) is fits_in


def test_on_a_machine_that_nobody_takes_away_every_epoch_fits():
    assert fits(1e9, {})


def test_where_the_worker_and_its_files_are_gone_none_does(tmp_path):
    assert not fits(1.0, {NODE_END: str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), True),  # all later calls fail alike
        (RuntimeError("shape '[3]' is invalid for input of size 4"), False),
        (ValueError("CUDA error: "), False),
        (OSError(28, "No space left on device"), False),
    ],
    ids=str,
)
def test_without_memory_or_with_a_gpu_that_has_failed_a_process_is_of_no_more_use(error, ends):
    assert ends_its_process(error) is ends
