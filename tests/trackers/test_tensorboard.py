import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData


@pytest.fixture
def read(run_path):
    def read_folder(name):
        reader = EventAccumulator(str(run_path / "tensorboard" / name))
        reader.Reload()
        return reader

    return read_folder


@pytest.fixture
def curve(read):
    """Steps and values of a scalar."""
    return lambda name, tag: [(point.step, point.value) for point in read(name).Scalars(tag)]


def session(reader, tag):
    """What HParams knows of a trial's start or end."""
    content = reader.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    return getattr(HParamsPluginData.FromString(content), tag)


def test_every_epoch_of_every_trial_is_a_point(track, make_sweep, story, read, curve):
    track(make_sweep(tensorboard={}), story.whole())
    assert curve("lstm-0", "loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert curve("lstm-0", "validation_auc") == [(1, 0.5), (2, 0.875), (3, 0.75)]
    assert curve("lstm-1", "validation_auc") == [(1, 0.625)]
    assert set(read("lstm-0").Tags()["scalars"]) == {
        "loss", "validation_auc", "validation_average_precision", "validation_youden_j", "labels_per_s", "epoch_s",
        "best_validation_auc",
    }  # fmt: skip
    assert curve("lstm-0", "best_validation_auc") == [(0, 0.875)]
    assert read("lstm-0").Scalars("loss")[0].wall_time == 1005  # the journal's, not today


def test_a_baseline_is_a_level_line_under_the_name_of_the_trials_scores(track, make_sweep, story, curve):
    track(make_sweep(tensorboard={}), story.whole())
    assert curve("persistence", "validation_auc") == [(1, 0.5), (3, 0.5)]
    assert curve("persistence", "validation_youden_j") == [(1, 0.25), (3, 0.25)]


def test_settings_stand_on_the_hparams_page(track, make_sweep, story, read):
    track(make_sweep(tensorboard={}), story.whole())
    hparams = session(read("lstm-1"), "session_start_info").hparams
    assert hparams["hidden"].number_value == 8
    assert hparams["seed"].number_value == 41
    assert hparams["family"].string_value == "lstm"
    assert session(read("lstm-0"), "session_end_info").status == 1  # success
    assert "_hparams_/session_end_info" not in read("lstm-1").summary_metadata  # it failed


def test_the_sweeps_facts_are_a_text(track, make_sweep, story, read):
    track(make_sweep(tensorboard={}), story.whole())
    (text,) = read("sweep").Tensors("facts/text_summary")
    assert b"fingerprint: 3f9a" in text.tensor_proto.string_val[0]


@pytest.mark.parametrize("told", range(1, 14))
def test_after_a_resume_each_epoch_stands_once(track, make_sweep, story, curve, told, run_path):
    events = story.whole()
    track(make_sweep(tensorboard={}), events[:told])
    for path in run_path.rglob("*tfevents*"):
        path.rename(path.with_name(f"{path.name}.1"))  # names carry the second: those of a resume are others
    track(make_sweep(tensorboard={}), [story("sweep", name="mine"), *events[told:]], past=events[:told])
    assert curve("lstm-0", "loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert curve("lstm-1", "loss") == [(1, 0.5)]
    assert curve("lstm-0", "best_validation_auc") == [(0, 0.875)]
    assert curve("persistence", "validation_auc") == [(1, 0.5), (3, 0.5)]
