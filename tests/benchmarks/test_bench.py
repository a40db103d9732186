"""That what is measured is told as it is. How fast things are is for make bench to say, and no test's business."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from measuring import Figure, Goal, Row, measure
from peers import burst_labels_loop
from showing import as_json, as_markdown

BENCH = Path(__file__).with_name("bench.py")


def row(ours, goal, peer=None):
    return Row("what", "frames/s", Figure(ours), goal, peer and Figure(peer), "another way")


def test_a_goal_is_held_by_the_median_of_the_ratios_of_each_round():
    slow_machine = row((100.0, 30.0, 300.0), Goal(">=", 10), (10.0, 3.0, 20.0))  # 10, 10 and 15 times
    assert slow_machine.ratio.median == 10
    assert slow_machine.holds
    assert not row((99.0, 29.0, 300.0), Goal(">=", 10), (10.0, 3.0, 20.0)).holds


@pytest.mark.parametrize(("goal", "holds"), [(Goal("<", 0.4), False), (Goal("<=", 0.4), True), (None, None)])
def test_without_a_peer_the_figure_itself_must_hold(goal, holds):
    assert row((0.4,), goal).holds is holds


def test_the_spread_is_half_of_lowest_to_highest():
    assert Figure((90.0, 100.0, 120.0)).spread == pytest.approx(0.15)


def test_rounds_take_turns():
    calls = []
    measure({"one": lambda: calls.append(1) or 1, "two": lambda: calls.append(2) or 1}, rounds=3, least_s=0)
    assert calls == [1, 2, 1, 2, 2, 1, 1, 2]  # once beforehand, then to and fro


def test_rows_are_plain_json():
    rows = [row((1.0, 3.0), Goal(">=", 2), (1.0, 1.0)), row((1.0,), None)]
    told = json.loads(json.dumps(as_json(rows, {"cpu": "some"}, rounds=2)))
    assert told["machine"] == {"cpu": "some"}
    first, second = told["rows"]
    assert (first["ratio"]["median"], first["goal"], first["holds"]) == (2, {"sense": ">=", "bound": 2}, True)
    assert (second["peer"], second["ratio"], second["holds"]) == (None, None, None)


def test_a_page_says_what_holds_and_what_was_missed():
    rows = [row((30.0,), Goal(">=", 2), (10.0,)), row((0.5,), Goal("<", 0.4)), row((1.0,), None)]
    machine = {"cpu": "some", "cores": 2, "memory_gib": 8.0, "commit": "abc", "python": "3.11", "torch": "2.13"}
    head, *_, first, second, third = as_markdown(rows, machine).splitlines()
    assert head == "some, 2 cores, 8 GiB; python 3.11, torch 2.13; commit abc."
    assert first == "| what | 30 frames/s | 10, another way | 3 | ≥ 2 | holds |"
    assert second == "| what | 0.5 frames/s |  |  | < 0.4 | **missed** |"
    assert third == "| what | 1 frames/s |  |  |  |  |"


def test_the_loop_over_labels_knows_the_rule():
    speed = [0.0, 0.0, 5.0, 5.0]  # over two frames: no range, then a burst from the lowest; then no range again
    assert burst_labels_loop(speed, horizon=1, low_fraction=0.1, threshold=1.0) == [0, 1, 0]


def test_a_benchmark_runs_and_prints_its_table(tmp_path):
    command = [
        sys.executable,
        BENCH,
        "--quick",
        "--only",
        "labels",
        "convlstm",
        "dense",
        "prediction",
        "--json",
        tmp_path / "bench.json",
    ]
    paths = os.pathsep.join(map(str, [Path(__file__).parents[1] / "support", *sys.path]))
    process = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert "labels of 45,000 frames: equal bit for bit" in process.stdout
    assert "clip by clip, float32: logits of the two are within" in process.stdout  # the naive cell is the same network
    assert json.loads((tmp_path / "bench.json").read_text())["rows"][0]["holds"] in (True, False)
