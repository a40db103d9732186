import io
import re

import pytest
from rich.console import Console

from fishray.report.live import LiveView, print_next, print_status, render, sparkline
from fishray.runs import RunState, leased


@pytest.fixture
def under_way(new_run):
    """A sweep in its middle: one trial finished, one stopped, one failed, two running."""
    story = new_run()
    story.sweep()
    story.baselines()
    story.trial("convlstm-0000", learning_rate=0.004, filters=(8,), augment="flips")
    for number in range(4):
        story.trial(f"lstm-000{number}", learning_rate=0.012, hidden=32, class_weight=0.6)
    story.start("convlstm-0000")
    for number in range(4):
        story.start(f"lstm-000{number}")
    story.epochs("lstm-0000", 0.81, 0.84, 0.85, 0.86, 0.868, 0.87, 0.871, 0.870, 0.869)
    story.end("lstm-0000")
    story.epochs("lstm-0001", 0.71)
    story.stop("lstm-0001", 1, 0.71, 0.81)
    story.end("lstm-0002", "failed", "OutOfMemoryError: this GPU share is too small\nTraceback")
    story.epochs("convlstm-0000", 0.80, 0.86, 0.883)
    return story


@pytest.fixture
def picture(under_way, shown):
    def draw(width=120, after_s=0.0):
        state, (sweep, _) = under_way.run.state(), under_way.run.resolved()
        return shown(lambda console: console.print(render(state, sweep, state.updated_s + after_s, width)), width)

    return draw


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140])
def test_the_view_fits_its_width(picture, width):
    lines = picture(width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 12


def test_families_are_counted(picture):
    lines = picture().splitlines()
    header, lstm, convlstm = (
        next(line for line in lines if line.split()[0] == name) for name in ("family", "lstm", "convlstm")
    )
    assert header.split()[:5] == ["family", "done", "running", "waiting", "failed"]
    assert lstm.split()[1:5] == ["2", "1", "0", "1"]
    assert convlstm.split()[1:5] == ["0", "1", "1", "0"]
    assert "2 → 1 → 1" in lstm  # trials that reached epochs 1, 3 and 9
    assert lstm.index("→") == header.index("→")


def test_the_best_trial_of_a_family_is_shown_with_its_epochs(picture):
    assert "0.871  hidden 32, lr 1.2e-2, cw 0.6  ▁" in picture()
    assert "0.883  8 filters, lr 4.0e-3, flips" in picture()


def test_baselines_are_shown_best_first(picture):
    for width in (80, 120):
        assert "0.852 persistence · 0.841 refitted · 0.790 published" in picture(width)


def test_running_trials_show_how_far_and_how_well(picture):
    text = picture(140)
    row = next(line for line in text.splitlines() if line.startswith(" trial convlstm-0000"))
    assert "epoch 3/9  ━━━" in row
    assert "412 labels/s  loss 0.167  val 0.883 (+0.031 over persistence)" in row
    assert " trial lstm-0003      epoch 0/9" in text


def test_elapsed_time_goes_on_between_events_and_the_rest_shrinks(picture):
    first = picture(120, after_s=1).splitlines()[0]
    later = picture(120, after_s=9).splitlines()[0]
    assert first.split("GPU")[1] != later.split("GPU")[1]
    assert "left" in first


def test_the_forecast_is_kept_current(picture):
    """CPU time of training so far, of what it will have been in all by the epochs measured, and the time left."""
    said = re.search(r"([\d.]+) of ~([\d.]+) CPU-(?:hours|minutes|seconds)  ~(.+) left", picture(140))
    assert said
    assert 0 < float(said[1]) < float(said[2])


def test_a_long_silence_is_said(picture):
    assert "ago" not in picture(after_s=30)
    text = picture(after_s=600)
    assert "(10 min ago)" in text
    assert "left" not in text  # an estimate that has run out is none


def test_a_run_that_is_over_says_how_it_ended(under_way, picture):
    under_way.tell("finish", status="interrupted", reason="interrupted by Ctrl-C")
    text = picture(after_s=10_000)
    assert "interrupted after 00:01:" in text
    assert "ago" not in text
    assert "trial convlstm-0000" not in text


def test_a_run_without_events_can_be_shown(new_run, shown):
    sweep, _ = new_run().run.resolved()
    text = shown(lambda console: console.print(render(RunState(), sweep, 1e9, 80)), 80)
    assert "small · starting" in text
    assert "lstm" in text


def test_many_running_trials_are_cut(new_run, shown):
    families = {"lstm": {"model": "lstm", "trials": 30, "space": {"hidden": {"choice": [8, 16]}}}}
    story = new_run(families=families)
    story.sweep()
    for number in range(30):
        story.trial(f"lstm-{number:04d}")
        story.start(f"lstm-{number:04d}")
    state, (sweep, _) = story.run.state(), story.run.resolved()
    assert "… 22 more running" in shown(lambda console: console.print(render(state, sweep, state.updated_s, 100)))


WORKERS = [
    ("11", "running", "", "n1"),
    ("12", "running", "", "n2"),
    ("13", "draining", "SIGUSR1", "n3"),
    ("14", "pending", "Resources", ""),
    ("15", "lost", "NODE_FAIL", "n4"),
    ("16", "ended", "no driver any more", "n5"),
]


def test_workers_are_shown_with_their_nodes_and_the_reason_why_they_wait_or_went(under_way, picture):
    for worker, state, reason, node in WORKERS:
        under_way.tell("worker", worker=worker, state=state, reason=reason, node=node)
    (row,) = [line for line in picture(140).splitlines() if line.startswith(" workers")]
    assert row == (
        " workers  2 running on n1, n2 · 1 pending (Resources) · 1 draining on n3 (SIGUSR1) · "
        "1 lost on n4 (NODE_FAIL) · 1 ended"
    )
    assert max(map(len, picture(80).splitlines())) <= 80


def test_without_a_cluster_there_are_no_workers(picture):
    assert "workers" not in picture()


def test_workers_of_a_driver_that_is_gone_are_not_shown(under_way, picture):
    under_way.tell("worker", worker="11", state="running", reason="", node="n1")
    under_way.tell("finish", status="interrupted", reason="stopped by the user")
    assert "workers" not in picture()


def test_a_sweep_that_is_over_leads_to_its_report_also_while_its_process_puts_things_away(under_way, shown):
    said = []
    with leased(under_way.run.path):
        for status in ("interrupted", "finished"):
            under_way.tell("finish", status=status, reason="")
            said.append(shown(lambda console: print_next(under_way.run, under_way.run.state(), console), 100))
    path = under_way.run.path
    assert said[0].startswith("It runs on ")
    assert said[1].split() == ["Next:", "fishray", "report", str(path)]


def test_a_log_tells_how_workers_stand(under_way):
    sweep, _ = under_way.run.resolved()
    file = io.StringIO()
    with LiveView(Console(file=file), sweep) as view:
        view.on_event(under_way.tell("worker", worker="14", state="pending", reason="Priority", node=""))
        view.on_event(under_way.tell("worker", worker="14", state="running", reason="", node="n1"))
    said = [line[10:] for line in file.getvalue().splitlines()]
    assert said == ["worker 14 pending (Priority)", "worker 14 running on n1"]


def test_a_log_has_one_plain_line_for_each_notable_event(under_way):
    file = io.StringIO()
    sweep, _ = under_way.run.resolved()
    under_way.tell("scoring", what="5 predictors on test")
    under_way.tell("finish", status="finished", reason="")
    with LiveView(Console(file=file, width=40), sweep) as view:
        for record in under_way.run.journal:
            view.on_event(record)
    text = file.getvalue()
    lines = text.splitlines()
    assert "\x1b" not in text
    assert lines[0] == (
        "00:00:00  small · tank.zarr (1 recording, 8:00 min, 13.1 % positive) · 2 CPUs, no GPU · 6 trials"
    )
    assert lines[1] == "00:00:01  persistence: validation AUC 0.852"
    said = [line[10:] for line in lines]
    assert "lstm-0000 started: hidden 32, lr 1.2e-2, cw 0.6" in said
    assert "lstm-0000 epoch 7/9: loss 0.071, validation AUC 0.871 (+0.019 over persistence), 412 labels/s" in said
    assert "lstm-0001 epoch 1/9: loss 0.500, validation AUC 0.710 (0.142 below persistence), 412 labels/s" in said
    assert said.count("lstm-0001 stopped at rung 1 (0.710, needed 0.810)") == 1
    assert "lstm-0002 failed: OutOfMemoryError: this GPU share is too small" in said
    assert said[-2:] == ["scoring 5 predictors on test", "finished"]


def test_folds_stand_beside_the_recordings(new_run, shown):
    story = new_run()
    story.sweep(folds=["a", "b", "c"], host="tank-pc", pid=4711)
    text = shown(lambda console: print_status(story.run, console), 120)
    assert "tank.zarr (1 recording, 3 folds, 8:00 min, 13.1 % positive)" in text


def test_a_terminal_is_redrawn_in_place(under_way):
    file = io.StringIO()
    console = Console(file=file, width=120, height=40, force_terminal=True, _environ={"TERM": "xterm-256color"})
    sweep, _ = under_way.run.resolved()
    with LiveView(console, sweep) as view:
        for record in under_way.run.journal:
            view.on_event(record)
    text = file.getvalue()
    assert "\x1b[" in text
    assert "0.883" in text
    assert "started: hidden" not in text


def test_an_event_of_a_later_version_is_passed_over(under_way):
    file = io.StringIO()
    sweep, _ = under_way.run.resolved()
    with LiveView(Console(file=file), sweep) as view:
        view.on_event({"time": 1.0, "event": "promoted", "what": "?"})
    assert file.getvalue() == ""


def test_a_sparkline_rises_with_its_values():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.7]) == "▄"
