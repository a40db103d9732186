import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fishray import cli
from fishray.store import new_recording

LOOK_BACK = 90  # what the published algorithm needs, which a sweep is refused without
SWEEP = {
    "name": "tiny",
    "labels": {"horizon": 10, "range_threshold": 0.02},
    "families": {
        "lstm": {
            "model": "lstm",
            "trials": 4,
            "space": {"hidden": {"choice": [2, 16]}},
            "fixed": {"batch_size": 2, "judged_frames": 24},
        },
    },
}


@pytest.fixture
def sweep(tmp_path, tank_store, monkeypatch):
    """A sweep file in the current folder, over whole recordings, for they are short."""
    monkeypatch.chdir(tmp_path)
    split = {"train": ["tank-1"], "validation": ["tank-2"], "test": ["tank-3"]}
    data = {"store": str(tank_store), "look_back": LOOK_BACK, "split": split}
    Path("tiny.yaml").write_text(json.dumps(SWEEP | {"data": data}))  # JSON is YAML
    return Path("tiny.yaml")


@pytest.fixture
def bench(monkeypatch, capsys, tmp_path):
    """Run `fishray bench` in this process; its exit status and what it printed."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # which main sets, for itself alone here
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fishray", "bench", "--seconds", "0.1", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_each_familys_smallest_and_largest_model_stands_in_a_line(bench, sweep):
    before = sorted(Path().rglob("*"))
    status, output, errors = bench(sweep)
    assert status == 0
    lines = output.splitlines()
    assert "CPU" in lines[0]
    assert lines[0].endswith("on a piece of tank-1, tank-2, tank-3")
    assert lines[2].split("  ")[0].strip() == "family"
    assert [line.split()[:3] for line in lines[3:5]] == [["lstm", "hidden", "2"], ["lstm", "hidden", "16"]]
    assert lines[-1] == "Next: fishray tune tiny.yaml --dry-run"
    assert [line for line in errors.splitlines() if line.startswith("training")] == [
        "training lstm, hidden 2, for 0.1 s",
        "training lstm, hidden 16, for 0.1 s",
    ]
    assert sorted(Path().rglob("*")) == before


def test_json_has_every_number(bench, sweep):
    _, output, _ = bench(sweep, "--json", "--set", "families.lstm.resources.cpus=1")
    found = json.loads(output)
    small, large = found["models"]
    assert (small["settings"]["hidden"], large["settings"]["hidden"]) == (2, 16)
    assert small["weights"] < large["weights"]
    for each in (small, large):
        assert min(each[key] for key in ("labels_per_s", "epoch_s", "loading_s", "memory_bytes", "at_once")) > 0
        assert 0 < each["waiting"] < 1
        assert each["limited_by"] in ("CPUs", "memory")
    assert found["memory_bytes"] > large["memory_bytes"]


def test_without_a_sweep_two_models_of_each_kind_train_on_a_store(bench, tmp_path):
    rng = np.random.default_rng(0)
    with new_recording(tmp_path / "speed.zarr", "series", {"fps": 30.0}) as writer:
        writer.finish(np.convolve(rng.gamma(0.2, 0.01, 4000), np.ones(5) / 5, "same"))
    status, output, _ = bench("--store", tmp_path / "speed.zarr", "--json")
    assert status == 0
    models = json.loads(output)["models"]
    assert [(each["family"], each["settings"]["hidden"]) for each in models] == [("lstm", 8), ("lstm", 64)]


@pytest.mark.slow
def test_without_anything_a_tank_is_simulated_and_gone_afterwards(bench, tmp_path):
    status, output, _ = bench("--json")
    assert status == 0
    models = json.loads(output)["models"]
    assert [each["family"] for each in models] == ["lstm", "lstm", "convlstm", "convlstm"]
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there_is_an_error(bench, sweep, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, _, errors = bench(sweep, "--device", "cuda")
    assert status == 2
    assert "a GPU was asked for, but torch can use none here" in errors


def test_settings_of_no_sweep_are_refused(bench):
    status, _, errors = bench("--set", "data.look_back=90")
    assert status == 2
    assert "there is no sweep whose settings it could replace" in " ".join(errors.replace("│", " ").split())
