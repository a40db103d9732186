import csv
import json

import pytest

from fishray.report.ranking import rank
from fishray.report.terminal import print_csv, print_json, print_report
from fishray.runs import leased


@pytest.fixture
def ranking(trained, score):
    story = trained()
    score(story)
    return rank(story.run)


@pytest.mark.parametrize("width", [66, 80, 100, 120, 140])
def test_a_report_is_plain_and_fits_its_width(ranking, shown, width):
    lines = shown(lambda console: print_report(ranking, console), width).splitlines()
    assert max(map(len, lines)) <= width
    assert "\x1b" not in "".join(lines)
    for name in ("convlstm-0001", "lstm-0000", "persistence", "refitted", "published", "lstm-0003"):
        assert any(name in line for line in lines), name
    assert lines[-1].strip().endswith("fishray predict runs/small STORE --out p.csv")


def test_columns_that_matter_least_go_first(ranking, shown):
    def header(width):
        text = shown(lambda console: print_report(ranking, console), width)
        return next(line for line in text.splitlines() if line.startswith(" rank")).split()

    test, over = ["test", "AUC", "[95", "%]"], ["over", "persistence"]
    assert header(140) == ["rank", "predictor", "settings", "epochs", "validation", *test, *over]
    assert header(120) == ["rank", "predictor", "settings", "epochs", "val.", *test, *over]
    assert header(100) == ["rank", "predictor", "settings", "val.", *test, *over]
    assert header(80) == ["rank", "predictor", "val.", *test, *over]
    assert header(66) == ["rank", "predictor", "val.", *over]


def test_cells_stand_under_their_headers(ranking, shown):
    lines = shown(lambda console: print_report(ranking, console), 140).splitlines()
    header = next(line for line in lines if line.startswith(" rank"))
    best, reference = (
        next(line for line in lines if f"  {name}  " in line) for name in ("convlstm-0001", "persistence")
    )
    place = header.index("test AUC")
    assert best[place:].startswith("0.9")
    assert best[header.index("epochs") :].startswith("9/9")
    assert reference[header.index("over persistence") :] == "reference"
    assert best.index("0.883") + 5 == header.index("validation") + len("validation")


@pytest.mark.parametrize("width", [80, 140])
def test_a_failed_trial_shows_its_reason(ranking, shown, width):
    text = shown(lambda console: print_report(ranking, console), width)
    row = next(line for line in text.splitlines() if "lstm-0003" in line)
    assert "failed: RuntimeError: loss is not a number" in row


def test_why_a_trial_has_no_test_score_is_there_even_without_its_column(ranking, shown):
    text = shown(lambda console: print_report(ranking, console), 80)
    row = next(line for line in text.splitlines() if "convlstm-0000" in line)
    assert "stopped at 3/9" in row


def test_a_collapsed_trial_is_marked_at_every_width(ranking, shown):
    for width in (80, 100, 140):
        text = shown(lambda console: print_report(ranking, console), width)
        assert "collapsed" in next(line for line in text.splitlines() if "lstm-0002" in line)


def test_the_verdict_is_in_plain_words(ranking, shown):
    text = shown(lambda console: print_report(ranking, console), 140)
    assert (
        "Verdict: convlstm-0001 foresees bursts better than persistence (interval above 0; 41 events in 96 s of test)."
        in text
    )


def test_no_verdict_is_said_with_its_reason(trained, shown):
    run = trained().run
    with leased(run.path):
        text = shown(lambda console: print_report(rank(run), console), 100)
    assert "No verdict: the test split has not been scored (the run is running)." in text
    assert "test AUC" not in text
    assert "fishray status runs/small" in text


def test_long_rankings_are_cut_but_keep_baselines_and_leaders(new_run, shown):
    story = new_run()
    story.sweep()
    story.baselines()
    for number in range(20):
        story.trial(f"lstm-{number:04d}", learning_rate=0.01)
        story.start(f"lstm-{number:04d}")
        story.epochs(f"lstm-{number:04d}", 0.95 - number / 1000)
    ranking = rank(story.run)
    text = shown(lambda console: print_report(ranking, console))
    assert "…  11 more: --all" in text
    assert "published algorithm" in text
    assert "lstm-0008" in text
    assert "lstm-0009" not in text
    everything = shown(lambda console: print_report(ranking, console, show_all=True))
    assert "lstm-0019" in everything
    assert "--all" not in everything


def test_an_empty_run_prints(new_run, shown):
    story = new_run()
    story.sweep()
    text = shown(lambda console: print_report(rank(story.run), console))
    assert "0 of 6 trials" in text


def test_a_family_that_is_not_called_after_its_model_names_it(new_run, shown):
    space = {"hidden": {"choice": [8, 16]}}
    story = new_run(families={"wide": {"model": "lstm", "trials": 1, "space": space}})
    story.sweep()
    story.trial("wide-0000", model="lstm", hidden=16)
    assert "lstm, hidden 16" in shown(lambda console: print_report(rank(story.run), console))


def test_json_is_every_number(ranking, shown):
    data = json.loads(shown(lambda console: print_json(ranking, console), 40))
    assert data == json.loads(json.dumps(ranking.as_dict()))


def test_csv_has_one_row_for_each_predictor(ranking, shown):
    rows = list(csv.DictReader(shown(lambda console: print_csv(ranking, console), 40).splitlines()))
    assert [row["predictor"] for row in rows] == [row.predictor for row in ranking.rows]
    assert float(rows[0]["over_persistence_low"]) == ranking.rows[0].over["persistence"].low
    assert (rows[1]["setting.hidden"], rows[0]["setting.hidden"]) == ("32", "")
    assert rows[0]["validation_auc"] == "0.883"
