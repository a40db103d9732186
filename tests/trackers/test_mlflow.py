import shutil

import pytest

pytest.importorskip("mlflow")

from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # mlflow's own use


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A database without runs: making one takes MLflow a thousand writes."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def ready_store(empty_store, run_path):
    (run_path / "mlflow").mkdir()
    shutil.copy(empty_store, run_path / "mlflow" / "mlflow.db")


@pytest.fixture
def read(run_path):
    """The client and every run of an experiment, by name."""

    def read_store(uri=None, experiment="fishray"):
        client = MlflowClient(uri or f"sqlite:///{run_path / 'mlflow' / 'mlflow.db'}")
        runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
        assert len({run.info.run_name for run in runs}) == len(runs)
        return client, {run.info.run_name: run for run in runs}

    return read_store


def curve(client, run, metric):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]


def assert_whole(client, runs):
    assert set(runs) == {"mine", "lstm-0", "lstm-1"}
    assert curve(client, runs["lstm-0"], "loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert curve(client, runs["lstm-0"], "validation_auc") == [(1, 0.5), (2, 0.875), (3, 0.75)]
    assert curve(client, runs["lstm-0"], "best_validation_auc") == [(3, 0.875)]
    assert curve(client, runs["lstm-1"], "loss") == [(1, 0.5)]
    assert curve(client, runs["mine"], "persistence/validation_auc") == [(0, 0.5)]
    assert {name: run.info.status for name, run in runs.items()} == {
        "mine": "FINISHED", "lstm-0": "FINISHED", "lstm-1": "FAILED",
    }  # fmt: skip
    assert runs["lstm-1"].data.tags["fishray.reason"] == "out of memory"


@pytest.mark.slow
def test_a_sweep_is_a_run_with_a_run_below_it_for_each_trial(track, make_sweep, story, read, run_path):
    track(make_sweep(mlflow={}), story.whole())
    client, runs = read()
    assert_whole(client, runs)
    parent, first = runs["mine"], runs["lstm-0"]
    assert first.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert first.data.params.items() >= {"family": "lstm", "seed": "40", "hidden": "8", "model": "lstm"}.items()
    assert set(first.data.metrics) >= {"labels_per_s", "epoch_s", "validation_average_precision"}
    assert parent.data.params.items() >= {"fingerprint": "3f9a", "valid_frames.train": "600"}.items()
    assert parent.info.artifact_uri.startswith((run_path / "mlflow" / "artifacts").as_uri())
    assert client.get_metric_history(first.info.run_id, "loss")[0].timestamp == 1_005_000  # the journal's, in ms


@pytest.mark.usefixtures("ready_store")
@pytest.mark.parametrize("told", [2, 6, 10, 12])
def test_after_a_resume_each_epoch_stands_once(track, make_sweep, story, read, told):
    events = story.whole()
    track(make_sweep(mlflow={}), events[:told])
    track(make_sweep(mlflow={}), [story("sweep", name="mine"), *events[told:]], past=events[:told])
    assert_whole(*read())


@pytest.mark.usefixtures("ready_store")
def test_what_the_tracker_missed_before_it_was_killed_is_made_up_for(track, make_sweep, story, read):
    events = story.whole()
    track(make_sweep(mlflow={}), events[:6])
    track(make_sweep(mlflow={}), events[11:], past=events[:11])
    assert_whole(*read())


@pytest.mark.usefixtures("ready_store")
def test_an_interrupted_sweep_is_killed_and_its_trials_go_on_later(track, make_sweep, story, read):
    events = story.whole()
    stop = story("finish", status="interrupted", reason="stopped by the user")
    track(make_sweep(mlflow={}), [*events[:9], stop])
    runs = read()[1]
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(runs, "KILLED")
    track(make_sweep(mlflow={}), [story("sweep", name="mine"), *events[9:]], past=[*events[:9], stop])
    assert_whole(*read())


def test_a_new_run_at_the_same_place_shares_a_store_and_no_runs(
    track, make_sweep, story, tmp_path, run_path, empty_store
):
    shutil.copy(empty_store, tmp_path / "shared.db")
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    sweep = make_sweep(mlflow={"uri": uri, "experiment": "rays"})
    track(sweep, story.whole())
    track(sweep, story.whole())  # the run was removed and made anew: its journal begins later
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("rays").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["lstm-0", "lstm-0", "lstm-1", "lstm-1", "mine", "mine"]
    assert not (run_path / "mlflow").exists()
