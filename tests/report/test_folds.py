"""A sweep in folds: means with their spread, and how each predictor did on what was held out."""

import csv
import json

import pytest

from fishray.config.sweep import LabelSettings
from fishray.report.ranking import _block_frames, rank
from fishray.report.terminal import print_csv, print_json, print_report

HELD_OUT = ["day1_am, day1_noon, day1_pm", "day2", "day3"]
PERSISTENCE = (0.80, 0.82, 0.84)
AUCS = {
    "lstm-0000": (0.81, 0.83, 0.85),  # better everywhere
    "lstm-0001": (0.90, 0.80, 0.82),  # better in the mean, by one fold
}


def of_folds(*aucs):
    return [{"auc": auc, "average_precision": auc / 2, "youden_j": auc - 0.3} for auc in aucs]


def mean(values):
    return sum(values) / len(values)


@pytest.fixture
def told(new_run):
    """A run of three folds, without a test split unless there is to be one."""

    def tell(test=None, notes=()):
        split = {"by": "recording", "folds": 3, **({"test": test} if test else {})}
        story = new_run(data={"store": "data/tank.zarr", "split": split})
        story.sweep(folds=HELD_OUT, notes=list(notes))
        for name, aucs in (("persistence", PERSISTENCE), ("published algorithm", (0.70, 0.72, 0.74))):
            scores = {"auc": mean(aucs), "average_precision": 0.4, "youden_j": 0.5}
            story.tell("baseline", name=name, scores=scores, folds=of_folds(*aucs))
        for name, aucs in AUCS.items():
            story.trial(name, hidden=8)
            story.start(name)
            for epoch, values in ((1, aucs), (2, [value - 0.1 for value in aucs])):
                story.tell(
                    "result", trial=name, epoch=epoch, loss=0.5, validation_auc=mean(values),
                    validation_average_precision=0.4, validation_youden_j=0.5, best_epoch=1, collapsed=False,
                    labels_per_s=400.0, epoch_s=4.0, cpus=1, folds=of_folds(*values),
                )  # fmt: skip
            story.end(name)
        return story

    return tell


def lines_of(story, shown, width=110):
    return shown(lambda console: print_report(rank(story.run), console), width).splitlines()


def test_a_row_has_its_metric_in_each_fold_at_its_best_epoch(told):
    ranking = rank(told().run)
    assert ranking.folds == tuple(HELD_OUT)
    folds = {row.predictor: row.folds for row in ranking.rows}
    assert folds == {**AUCS, "persistence": PERSISTENCE, "published algorithm": (0.70, 0.72, 0.74)}


def test_validation_is_the_mean_with_the_standard_deviation_over_folds(told, shown):
    lines = lines_of(told(), shown, 140)
    first = {line.split()[1]: line for line in lines if "±" in line and "standard" not in line}
    assert "0.830 ± 0.020" in first["lstm-0000"]
    assert "0.840 ± 0.053" in first["lstm-0001"]  # 0.06, -0.04 and -0.02 from the mean: √(0.0056 / 2)
    assert "0.820 ± 0.020" in first["persistence"]


def test_who_leads_in_one_recording_alone_is_seen_to(told, shown):
    lines = lines_of(told(), shown)
    header = next(index for index, line in enumerate(lines) if "validation AUC by fold" in line)
    table = [" ".join(line.split()) for line in lines[header : header + 7]]
    assert table[:5] == [
        "validation AUC by fold over persistence day1_am, … day2 day3",
        "lstm-0001 +0.020, above in 1 of 3 0.900 0.800 0.820",
        "lstm-0000 +0.010, above in 3 of 3 0.810 0.830 0.850",
        "persistence reference 0.800 0.820 0.840",
        "published algorithm −0.100, above in 0 of 3 0.700 0.720 0.740",
    ]
    assert "a column is what was held out" in table[5]
    assert "on test" not in " ".join(table)


def test_on_test_it_is_said_to_be_the_mean_of_the_folds(told, score, shown):
    story = told(test=["day4"])
    score(story, {"persistence": 1.5, "published algorithm": 1.1, "lstm-0000": 1.52, "lstm-0001": 1.5})
    text = " ".join("\n".join(lines_of(story, shown)).split())
    assert "on test, the mean of the folds' probabilities" in text
    assert rank(story.run).verdicts != ()


@pytest.mark.parametrize("width", [70, 80, 100, 140])
def test_it_fits_its_width_and_folds_that_do_not_are_said_to_be_elsewhere(told, shown, width):
    lines = lines_of(told(), shown, width)
    assert [line for line in lines if len(line) > width] == []
    text = " ".join(" ".join(lines).split())
    assert ("1 more: --csv;" in text) == (width == 70)


def test_every_fold_stands_in_the_csv_and_in_the_json(told, shown):
    ranking = rank(told().run)
    rows = list(csv.DictReader(shown(lambda console: print_csv(ranking, console), 40).splitlines()))
    assert [rows[0][f"fold.{title}"] for title in HELD_OUT] == ["0.9", "0.8", "0.82"]
    data = json.loads(shown(lambda console: print_json(ranking, console), 40))
    assert data["folds"] == HELD_OUT
    assert data["rows"][0]["folds"] == [0.9, 0.8, 0.82]


def test_blocks_are_four_horizons_of_the_fastest_recording(told):
    rates = [{"name": name, "fps": fps, "frames": 9000} for name, fps in (("day2", 25.0), ("day3", 30.0))]
    story = told()
    story.sweep(recordings=rates, folds=HELD_OUT)
    state = story.run.state()

    def block(**labels):
        return _block_frames(state, story.run.resolved()[0].model_copy(update={"labels": LabelSettings(**labels)}))

    assert block(horizon_s=3.0) == 4 * 90
    assert block(horizon_s=1.5) == 300  # the least: 4 * 45 is shorter


def test_notes_on_the_data_stand_in_the_report(told, shown):
    assert "Note: recordings of 25 and 30 fps." in lines_of(told(notes=["recordings of 25 and 30 fps"]), shown)


def test_a_run_without_folds_says_nothing_of_them(trained, score, shown):
    story = trained()
    score(story)
    text = "\n".join(lines_of(story, shown))
    assert "fold" not in text
    assert "±" not in text
