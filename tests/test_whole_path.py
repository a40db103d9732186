"""From a simulated tank to a ranked report by the command line, with real Ray; and sweeps that end early."""

import csv
import hashlib
import io
import json
import os
import signal
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from desk import END_S, START_S, desk_in, wait_for, wait_until_none_is_left

from fishray import cli
from fishray.config.loader import load_sweep
from fishray.evaluation.scoring import predict_split
from fishray.predictors.baselines import BASELINES as BASELINE_FITS
from fishray.predictors.network import NetworkPredictor
from fishray.runs import Run
from fishray.sequences.recordings import find_recordings
from fishray.sequences.splits import load_sequences

pytestmark = [
    pytest.mark.slow,
    # Frames are read-only on purpose; networks copy from them and never write.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning"),
]

MINUTES, FPS, LOOK_BACK = 1.5, 30, 90
SWEEP = {
    "name": "tiny",
    "data": {
        "store": "data/tank.zarr",
        "simulate": {"minutes": MINUTES, "fish": 3, "height": 48, "width": 64, "fps": FPS},
        "look_back": LOOK_BACK,
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
    },
    "labels": {"horizon": 15, "range_threshold": "auto"},
    "families": {
        "lstm": {
            "trials": 3,
            "space": {"learning_rate": {"loguniform": [0.003, 0.05]}},
            "fixed": {"hidden": 4, "steps_per_epoch": 4, "judged_frames": 60},
        },
        "convlstm": {
            "trials": 2,
            "space": {"learning_rate": {"loguniform": [0.003, 0.05]}},
            "fixed": {"filters": [2], "downsample": 8, "steps_per_epoch": 2, "judged_frames": 60},
        },
        # More pixels than a frame is high: nothing is left to look at.
        "coarse": {"model": "convlstm", "trials": 1, "fixed": {"filters": [2], "downsample": 128}},
    },
    "search": {"max_epochs": 2, "reduction_factor": 2},
    "report": {"leaders": 2, "block_frames": 60, "resamples": 100},
}
LONE = SWEEP | {
    "families": {"lstm": SWEEP["families"]["lstm"] | {"trials": 1}},
    "search": {"max_epochs": 100_000, "scheduler": "none"},
}
"""One trial that never ends by itself."""
BASELINES = {"persistence", "refitted algorithm", "published algorithm"}
RANKED = {"lstm-0000", "lstm-0001", "lstm-0002", "convlstm-0000", "convlstm-0001"}
TRIALS = RANKED | {"coarse-0000"}


def tree(folder):
    """Content of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    (folder / "tiny.yaml").write_text(json.dumps(SWEEP))  # JSON is YAML
    (folder / "lone.yaml").write_text(json.dumps(LONE | {"name": "lone", "access": "group"}))
    with desk_in(folder) as made:
        yield made


@dataclass(frozen=True)
class Swept:
    """A sweep that ran to its end."""

    run: Run
    events: list
    log: str
    left: list
    """Processes and files that were left behind."""

    def of(self, event):
        return [each for each in self.events if each["event"] == event]


@pytest.fixture(scope="module")
def swept(desk):
    process = desk.start("tune", "tiny.yaml")
    status = process.wait(START_S)
    log = (desk.folder / "log.txt").read_text()
    assert status == 0, log
    left = [*wait_until_none_is_left(desk), *desk.leftovers()]
    run = Run.open(desk.folder / "runs" / "tiny")
    return Swept(run, list(run.journal), log, left)


@pytest.fixture
def fishray(desk, monkeypatch, capsys):
    """Run a command line in this process; exit status, output, and what was said besides."""

    def run(*words):
        monkeypatch.chdir(desk.folder)
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        monkeypatch.setattr(sys, "argv", ["fishray", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


# A sweep from a tank to a report


def test_the_log_tells_it_from_beginning_to_end(swept):
    lines = swept.log.splitlines()
    assert any(line.startswith("simulating a tank: ") for line in lines)
    assert any("persistence: validation AUC " in line for line in lines)
    assert any("coarse-0000 failed: " in line for line in lines)
    assert lines[-1] == "Next: fishray report runs/tiny"


def test_the_journal_is_complete(swept):
    kinds = [each["event"] for each in swept.events]
    assert kinds[:4] == ["sweep", "baseline", "baseline", "baseline"]
    assert kinds[4:10] == ["trial"] * 6
    assert set(kinds[10:-2]) == {"attempt", "result", "decision", "end"}
    assert kinds[-2:] == ["scoring", "finish"]
    assert swept.events[-1]["status"] == "finished"
    assert {each["name"] for each in swept.of("baseline")} == BASELINES
    assert {each["config"]["id"] for each in swept.of("trial")} == TRIALS
    times_s = [each["time"] for each in swept.events]
    assert times_s == sorted(times_s)


def test_every_trial_starts_once_and_ends_once(swept):
    assert sorted(each["trial"] for each in swept.of("attempt")) == sorted(TRIALS)
    assert sorted(each["trial"] for each in swept.of("end")) == sorted(TRIALS)
    assert {each["attempt"] for each in swept.of("attempt")} == {1}
    assert {each["attempt"] for each in swept.of("result")} == {1}


def test_every_trial_is_decided_at_each_rung_that_it_reaches(swept):
    for name in RANKED:
        epochs = [each["epoch"] for each in swept.of("result") if each["trial"] == name]
        rungs = [each["rung"] for each in swept.of("decision") if each["trial"] == name]
        (end,) = [each for each in swept.of("end") if each["trial"] == name]
        assert epochs == rungs == {"finished": [1, 2], "stopped": [1]}[end["status"]]


def test_processes_are_shared_by_trials_of_both_families(swept):
    trials = {}
    for each in swept.of("result"):
        trials.setdefault(each["pid"], set()).add(each["trial"])
    assert len(trials) <= max(2, len(os.sched_getaffinity(0)))
    assert set.union(*trials.values()) == RANKED


def test_a_trial_that_raises_is_listed_with_its_reason_and_the_others_are_ranked(swept, fishray):
    _, out, _ = fishray("report", "runs/tiny", "--json")
    rows = {row["predictor"]: row for row in json.loads(out)["rows"]}
    assert set(rows) == TRIALS | BASELINES
    failed = rows["coarse-0000"]
    assert (failed["status"], failed["rank"], failed["validation"], failed["epochs"]) == ("failed", None, None, 0)
    assert "Error: " in failed["reason"]
    assert {rows[name]["rank"] for name in RANKED} == {1, 2, 3, 4, 5}
    by_rank = sorted((rows[name] for name in RANKED), key=lambda row: row["rank"])
    values = [row["validation"] for row in by_rank]
    assert values == sorted(values, reverse=True)
    (end,) = [each for each in swept.of("end") if each["trial"] == "coarse-0000"]
    assert end["traceback"].startswith("Traceback (most recent call last)")


def leaders(swept):
    """The two best by validation, and the best of each family."""
    ranked = [trial.config for trial in swept.run.state().ranked("validation_auc")]
    best = {config.family: config.id for config in reversed(ranked)}
    return {config.id for config in ranked[:2]} | set(best.values())


def test_the_test_split_is_scored_for_leaders_and_baselines_alone(swept, fishray):
    _, out, _ = fishray("report", "runs/tiny", "--json")
    scored = {row["predictor"] for row in json.loads(out)["rows"] if row["test"]}
    predictions = swept.run.read_predictions()
    assert 2 <= len(leaders(swept)) < len(RANKED)
    assert scored == set(predictions["test"].probability) == leaders(swept) | BASELINES
    assert set(predictions["validation"].probability) == RANKED | BASELINES


def test_predictions_are_what_the_best_weights_give_again(swept, desk, monkeypatch):
    monkeypatch.chdir(desk.folder)
    sweep = load_sweep(desk.folder / "tiny.yaml")
    recordings = find_recordings(sweep.data)
    data = load_sequences(recordings, sweep.data, sweep.labels, lambda each: each.read_frames(0, each.frame_count))
    predictions = swept.run.read_predictions()
    for split, names in (("validation", RANKED), ("test", leaders(swept))):
        for name in names:
            again = predict_split(NetworkPredictor.load(swept.run.best_path(name)), data.split(split))
            assert predictions[split].probability[name] == pytest.approx(again, abs=1e-5)
            assert np.ptp(again) > 0
        assert len(predictions[split].label) == MINUTES * 60 * FPS * 0.2 - (LOOK_BACK - 1) - 16


def test_the_table_on_the_terminal_names_every_trial(swept, fishray):
    status, out, _ = fishray("report", "runs/tiny", "--all")
    assert status == 0
    assert [name for name in TRIALS | BASELINES if name not in out] == []
    assert out.splitlines()[-1].strip() != ""


def test_the_ranking_as_csv_has_a_row_for_each_predictor(swept, fishray):
    _, out, _ = fishray("report", "runs/tiny", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["predictor"] for row in rows} == TRIALS | BASELINES


def test_status_says_that_it_is_finished_and_why_a_trial_failed(swept, fishray):
    assert "finished after " in fishray("status", "runs/tiny")[1]
    _, out, _ = fishray("status", "runs/tiny", "--trial", "coarse-0000")
    assert "coarse-0000 · failed: " in out
    assert "Traceback (most recent call last)" in out


def test_predict_judges_the_recording_with_the_best_trial(swept, fishray, desk):
    best = swept.run.best_trial()
    frames = int(MINUTES * 60 * FPS) - LOOK_BACK + 1
    status, out, _ = fishray("predict", "runs/tiny", "data/tank.zarr", "--out", "p.csv")
    assert (status, out) == (0, f"p.csv: {frames} frames judged by {best}\n")
    assert len((desk.folder / "p.csv").read_text().splitlines()) == 1 + frames


def test_nothing_is_left_behind_but_the_run(swept):
    assert swept.left == []
    kept = {str(path.relative_to(swept.run.path)) for path in swept.run.path.glob("*")}
    assert kept == {"sweep.yaml", "journal.jsonl", "lease-1", "trials", "predictions.zarr"}
    finished = [each["trial"] for each in swept.of("end") if each["status"] == "finished"]
    assert finished
    assert kept_of_trials(swept.run) == {f"{name}/best" for name in RANKED} | {
        f"{name}/attempt-1/{file}" for name in finished for file in ("checkpoint", "checkpoint.previous", "last-words")
    }


def modes(run):
    """Permissions in a run, by kind, as they are written: 0o700."""
    paths = [run.path, *run.path.rglob("*")]
    return {("folder" if path.is_dir() else "file", oct(path.stat().st_mode & 0o777)) for path in paths}


def test_a_run_is_for_its_owner_alone(swept):
    assert modes(swept.run) == {("folder", "0o700"), ("file", "0o600")}


def test_a_run_can_be_for_its_group(stopped):
    run, *_ = stopped
    assert modes(run) == {("folder", "0o750"), ("file", "0o640")}


def kept_of_trials(run):
    return {str(path.relative_to(run.path / "trials")) for path in run.path.glob("trials/**/*") if path.is_file()}


def without_leases(files):
    return {name: content for name, content in files.items() if "/lease-" not in name}


def test_a_second_sweep_of_the_name_prints_the_report_and_changes_no_byte_but_its_lease(swept, fishray, desk):
    before = tree(desk.folder)
    status, out, err = fishray("tune", "tiny.yaml")
    assert (status, err) == (0, "")
    assert out.startswith(fishray("report", "runs/tiny")[1])
    assert out.splitlines()[-1] == "(runs/tiny had finished; to start over beside it: --fresh)"
    assert without_leases(tree(desk.folder)) == without_leases(before)


def test_a_fresh_start_makes_a_run_beside_it_with_the_same_scores(swept, desk):
    before = tree(swept.run.path)
    process = desk.start("tune", "tiny.yaml", "--fresh")
    assert process.wait(START_S) == 0, (desk.folder / "log.txt").read_text()[-2000:]
    assert wait_until_none_is_left(desk) == []
    assert tree(swept.run.path) == before
    fresh = Run.open(desk.folder / "runs" / "tiny-2")
    first, second = swept.run.state().trials, fresh.state().trials
    assert {name: trial.config for name, trial in first.items()} == {n: trial.config for n, trial in second.items()}
    for name in RANKED:
        assert first[name].results[1]["validation_auc"] == second[name].results[1]["validation_auc"]


# Sweeps that end early


def events(run):
    return list(run.journal) if run.journal.path.exists() else []


def results(run, attempt):
    return [each for each in events(run) if each["event"] == "result" and each["attempt"] == attempt]


@pytest.fixture(scope="module")
def stopped(desk):
    """A sweep whose process is killed, and that is then stopped by Ctrl-C."""
    run = Run(desk.folder / "runs" / "lone")
    process = desk.start("tune", "lone.yaml")
    wait_for(lambda: results(run, 1), process, desk)
    os.kill(results(run, 1)[0]["pid"], signal.SIGKILL)
    wait_for(lambda: results(run, 2), process, desk)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to every process of the group
    status = process.wait(END_S)
    left = [*wait_until_none_is_left(desk), *desk.leftovers()]
    return run, status, left


def test_a_trial_whose_process_is_killed_goes_on_from_its_last_epoch(stopped):
    run, *_ = stopped
    told = [each for each in events(run) if each["event"] in ("attempt", "lost")]
    assert [(each["event"], each.get("attempt")) for each in told] == [("attempt", 1), ("lost", 1), ("attempt", 2)]
    assert told[1]["reason"].startswith("its process died: ")
    before, after = ([each["epoch"] for each in results(run, attempt)] for attempt in (1, 2))
    assert before == list(range(1, len(before) + 1))
    # An epoch that was saved before anyone was told of it is told by the next attempt.
    assert after == list(range(before[-1] + 1, before[-1] + 1 + len(after)))


def test_ctrl_c_stops_a_sweep_and_marks_it_interrupted(stopped):
    run, status, _ = stopped
    assert status == 130
    last = events(run)[-1]
    assert (last["event"], last["status"], last["reason"]) == ("finish", "interrupted", "stopped by the user")


def test_ctrl_c_leaves_no_process_and_no_file_behind(stopped):
    run, *_, left = stopped
    assert left == []
    assert list(run.path.glob("tune*")) == []


def test_a_sweep_that_was_stopped_can_be_reported(stopped, fishray):
    status, out, err = fishray("report", "runs/lone")
    assert (status, err) == (0, "")
    assert "interrupted" in out
    assert "lstm-0000" in out
    assert "No verdict: the test split has not been scored" in out


def test_a_sweep_that_was_stopped_can_predict(stopped, fishray):
    status, out, _ = fishray("predict", "runs/lone", "data/tank.zarr", "--out", "q.csv")
    assert status == 0
    assert " frames judged by " in out


def test_a_sweep_that_is_to_stop_while_its_first_attempts_wait_for_a_process_stops_in_good_order(swept, desk):
    run = Run(desk.folder / "runs" / "waiting")
    process = desk.start("tune", "tiny.yaml", "--set", "name=waiting")
    wait_for(lambda: list(run.path.glob("trials/*/attempt-1")), process, desk)
    process.send_signal(signal.SIGTERM)
    assert process.wait(END_S) == 128 + signal.SIGTERM, desk.log()
    assert [each["event"] for each in events(run) if each["event"] in ("attempt", "lost", "end")] == []
    assert (run.state().status, run.state().facts["name"]) == ("interrupted", "waiting")
    assert "Stopped; what was trained is kept." in desk.log()
    assert "Trial " not in desk.log()  # Tune is silent


def test_ctrl_c_before_the_first_trial_marks_a_sweep_interrupted(swept, fishray, desk, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(BASELINE_FITS, "persistence", stop)
    status, _, err = fishray("tune", "tiny.yaml", "--set", "name=early")
    assert status == 130
    assert "Traceback" not in err
    assert Run(desk.folder / "runs" / "early").state().status == "interrupted"
    assert "interrupted" in fishray("report", "runs/early")[1]


def test_a_defect_keeps_its_traceback_and_marks_a_sweep_failed(swept, desk, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("in a baseline")

    monkeypatch.chdir(desk.folder)
    monkeypatch.setitem(BASELINE_FITS, "persistence", fail)
    monkeypatch.setattr(sys, "argv", ["fishray", "tune", "tiny.yaml", "--set", "name=defect"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
    state = Run(desk.folder / "runs" / "defect").state()
    assert (state.status, state.last) == ("failed", "ZeroDivisionError: in a baseline")
