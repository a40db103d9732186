from textwrap import dedent

import pytest

from fishray.config.loader import dump_sweep, load_sweep
from fishray.errors import SweepFileError

SWEEP = """\
data: {store: tank.zarr}
families:
  lstm: {trials: 2}
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text="", *overrides):
        path = tmp_path / "mine.yaml"
        path.write_text(SWEEP + dedent(text))
        return load_sweep(path, overrides)

    return load_text


def test_no_tracker_is_on_unasked(load):
    assert load().trackers.chosen == ()


def test_an_empty_mapping_switches_a_tracker_on_and_nothing_leaves_the_machine(load):
    trackers = load("trackers: {tensorboard: {}, mlflow: {}, wandb: {}}").trackers
    assert trackers.chosen == ("tensorboard", "mlflow", "wandb")
    assert (trackers.mlflow.uri, trackers.mlflow.experiment) == (None, "fishray")
    assert (trackers.wandb.mode, trackers.wandb.project) == ("offline", "fishray")
    assert load("", "trackers.tensorboard={}").trackers.chosen == ("tensorboard",)
    assert load("", "trackers.wandb.mode=online").trackers.wandb.mode == "online"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("tensorbord: {}", "line 5 trackers.tensorbord unknown setting; did you mean tensorboard?"),
        ("mlflow: {url: x}", "line 5 trackers.mlflow.url unknown setting; did you mean uri?"),
        ("wandb: {mode: of}", "line 5 trackers.wandb.mode 'of' is not allowed; one of offline, online"),
        ("wandb: {team: x}", "line 5 trackers.wandb.team unknown setting; one of project, entity, mode"),
        ("tensorboard: {logdir: x}", "line 5 trackers.tensorboard.logdir unknown setting"),
        ("tensorboard: true", "line 5 trackers.tensorboard True: must be a mapping of settings"),
        ("tensorboard:", "line 5 trackers.tensorboard is empty; write {} to switch it on as it is"),
    ],
)
def test_nonsense_is_answered(load, written, said):
    with pytest.raises(SweepFileError) as caught:
        load(f"trackers:\n  {written}\n")
    _, *rows = str(caught.value).splitlines()
    assert [" ".join(row.split()) for row in rows] == [said]


def test_trackers_are_read_as_they_were_written_down(load, tmp_path):
    sweep = load("trackers: {tensorboard: {}, wandb: {entity: lab}}")
    dump_sweep(sweep, tmp_path / "again.yaml")
    assert load_sweep(tmp_path / "again.yaml") == sweep
