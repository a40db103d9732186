import json
import struct

import pytest

pytest.importorskip("wandb")

from wandb.proto.wandb_internal_pb2 import Record

KEYS = ("loss", "validation_auc", "validation_average_precision", "validation_youden_j", "labels_per_s", "epoch_s")


BLOCK = 32_768


def records(path):
    """Records of an offline file: LevelDB's log format, behind seven bytes that name it."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:  # the rest of a block
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(parts)
            parts = b""


class Read:
    """What W&B would be sent of one run."""

    def __init__(self, path):
        self.config, self.summary, self.history, self.exit_code = {}, {}, [], None
        for record in records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    self.group, self.name, self.project = (
                        record.run.run_group,
                        record.run.display_name,
                        record.run.project,
                    )
                    self.config |= {each.key: json.loads(each.value_json) for each in record.run.config.update}
                case "history":
                    row = {
                        (each.key or each.nested_key[0]): json.loads(each.value_json) for each in record.history.item
                    }
                    self.history.append((record.history.step.num, row))
                case "summary":
                    pairs = record.summary.update
                    self.summary |= {(each.key or each.nested_key[0]): json.loads(each.value_json) for each in pairs}
                case "exit":
                    self.exit_code = record.exit.exit_code

    def curve(self, metric):
        return [(step, row[metric]) for step, row in self.history if metric in row]


@pytest.fixture
def read(run_path):
    def read_all():
        files = [Read(path) for path in (run_path / "wandb").glob("offline-run-*/run-*.wandb")]
        assert len({each.name for each in files}) == len(files)
        return {each.name: each for each in files}

    return read_all


def assert_whole(runs):
    assert set(runs) == {"lstm-0", "lstm-1"}
    assert runs["lstm-0"].curve("loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert runs["lstm-0"].curve("validation_auc") == [(1, 0.5), (2, 0.875), (3, 0.75)]
    assert runs["lstm-1"].curve("loss") == [(1, 0.5)]
    assert (runs["lstm-0"].exit_code, runs["lstm-1"].exit_code) == (0, 1)
    assert runs["lstm-0"].summary["best_validation_auc"] == 0.875
    assert (runs["lstm-1"].summary["status"], runs["lstm-1"].summary["reason"]) == ("failed", "out of memory")


def test_a_trial_is_a_run_in_the_sweeps_group(track, make_sweep, story, read):
    track(make_sweep(wandb={"project": "rays"}), story.whole())
    runs = read()
    assert_whole(runs)
    first = runs["lstm-0"]
    assert (first.group, first.project) == ("mine", "rays")
    assert set(KEYS) <= set(first.history[0][1])
    assert first.config.items() >= {"family": "lstm", "seed": 40, "hidden": 8, "sweep.fingerprint": "3f9a"}.items()
    assert first.config["baseline.persistence.validation_auc"] == 0.5


@pytest.mark.parametrize("told", [2, 6, 9, 10, 12])
def test_after_a_resume_each_epoch_stands_once(track, make_sweep, story, read, told):
    events = story.whole()
    track(make_sweep(wandb={}), events[:told])
    track(make_sweep(wandb={}), [story("sweep", name="mine"), *events[told:]], past=events[:told])
    assert_whole(read())


def test_what_the_tracker_missed_before_it_was_killed_is_made_up_for(track, make_sweep, story, read):
    events = story.whole()
    track(make_sweep(wandb={}), events[:6])
    track(make_sweep(wandb={}), events[11:], past=events[:11])
    assert_whole(read())


def test_online_without_a_key_it_is_off_rather_than_ask_on_the_terminal(make_sweep, run_path, monkeypatch, tmp_path):
    from fishray.trackers import open_trackers

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    said = []
    with open_trackers(run_path, make_sweep(wandb={"mode": "online"}), (), said.append):
        pass
    assert said == ["tracker wandb is off: PermissionError: no API key; type: wandb login"]
