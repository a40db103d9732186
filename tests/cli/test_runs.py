"""What replay and clean print, and predict after clean."""

import json
import sys
from pathlib import Path

import pytest
import torch
import typer

from fishray import cli
from fishray.config.sweep import Sweep
from fishray.runs import Run
from fishray.runs.directory import provenance
from fishray.store import open_store
from fishray.training import Trainer
from fishray.tuning.single import with_data
from fishray.tuning.space import draw_trial

SMALL = {"hidden": 3, "steps_per_epoch": 2, "batch_size": 2, "judged_frames": 24}
ADDED = 2e-4
"""By how much the journal's AUC of the second trial's second epoch is wrong."""


@pytest.fixture
def run(tmp_path, tank_store, monkeypatch):
    """Three trials of two epochs in runs/tiny; the first has finished, the others were stopped."""
    monkeypatch.chdir(tmp_path)
    sweep = Sweep.model_validate_json(
        json.dumps({
            "name": "tiny",
            "data": {"store": str(tank_store), "look_back": 24},
            "labels": {"horizon": 10, "range_threshold": 0.02},
            "families": {"lstm": {"model": "lstm", "trials": 3, "fixed": SMALL}},
            "search": {"max_epochs": 2},
            "report": {"leaders": 1},
        })
    )  # fmt: skip
    store = open_store(tank_store)
    opened = Run.claim(Path("runs/tiny"))
    opened.write_sweep(sweep, provenance(store.fingerprint(store.names)))
    for number, status in enumerate(("finished", "stopped", "stopped")):
        trial = draw_trial(sweep.seed, "lstm", sweep.families["lstm"], number)
        opened.journal.append("trial", config=trial.model_dump(mode="json"))
        opened.journal.append("attempt", trial=trial.id, attempt=1)
        checkpoint = opened.prepare_attempt(trial.id, 1, None)

        def train(data, trial=trial, checkpoint=checkpoint):
            trainer = Trainer(trial, data, torch.device("cpu"))
            results = [trainer.run_epoch().as_dict() for _ in range(2)]
            trainer.save(checkpoint)
            return results

        results = with_data(sweep, trial, train)
        results[1]["validation_auc"] += ADDED * (number == 1)
        for result in results:
            opened.journal.append("result", trial=trial.id, attempt=1, cpus=1, gpus=0.0, **result)
        opened.keep_best(trial.id, 1)
        opened.journal.append("end", trial=trial.id, status=status, reason="")
        if status == "stopped":
            opened.remove_attempts(trial.id)
    return opened


@pytest.fixture
def fishray(monkeypatch, capsys):
    """Run a command line in this process; its exit status, and what it printed."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # which main sets, for itself alone here
    threads = torch.get_num_threads()

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["fishray", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    yield call
    torch.set_num_threads(threads)


def test_replay_prints_each_epoch_beside_what_the_journal_has(fishray, run):
    status, out, _ = fishray("replay", run.path, "lstm-0000", "--epochs", 3)
    *table, last = out.splitlines()
    header, *rows = [line.split() for line in table]
    assert header == ["epoch", "loss", "validation", "AUC", "recorded"]
    results = run.trial("lstm-0000").results
    expected = [[str(n), f"{r['loss']:.4f}", *[f"{r['validation_auc']:.4f}"] * 2, "equal"] for n, r in results.items()]
    assert rows[:2] == expected
    assert (rows[2][0], rows[2][3:]) == ("3", ["–"])
    assert len({line.rindex(words[3]) + len(words[3]) for line, words in zip(table[1:], rows, strict=True)}) == 1
    assert (status, last) == (0, "equal to the journal in all 2 epochs")


def test_a_replay_that_differs_says_so_and_is_no_failure(fishray, run):
    status, out, _ = fishray("replay", run.path, "lstm-0001")
    assert [line.split()[4:] for line in out.splitlines()[1:3]] == [["equal"], ["differs", "by", "2e-4"]]
    assert (status, out.splitlines()[-1]) == (0, "differs first in epoch 2, by 2e-4 at most")


def test_a_replay_says_first_what_is_of_another_version(fishray, run):
    sweep, begun = run.resolved()
    run.write_sweep(sweep, begun | {"fishray": "0.0.1"})
    _, out, _ = fishray("replay", run.path, "lstm-0000", "--epochs", 1)
    assert out.startswith("warning: made with fishray 0.0.1, here ")
    assert out.splitlines()[1].split()[0] == "epoch"


def test_a_replay_of_an_unknown_trial_is_one_line_and_status_2(fishray, run):
    status, out, err = fishray("replay", run.path, "lstm-0007")
    assert (status, out) == (2, "")
    assert err.startswith("fishray: runs/tiny has no trial lstm-0007; did you mean lstm-000")


def test_clean_says_what_has_gone_and_what_that_means(fishray, run):
    best, *others = [trial.config.id for trial in run.state().ranked("validation_auc")]
    gone = [run.trial_path("lstm-0000") / "attempt-1", *map(run.best_path, others)]
    gone += list(gone[0].iterdir())
    freed = sum(path.lstat().st_blocks * 512 for path in gone) / 1e3
    tail = "the weights of 2 trials, the checkpoints of 1; {} the best 1"
    more = "The checkpoints of 1 finished trial {}: more epochs would train them from their beginning"
    assert fishray("clean", run.path, "--keep", 1, "--dry-run")[1].splitlines() == [
        f"runs/tiny: would free {freed:.0f} kB: {tail.format('would keep')}",
        more.format("would go"),
        "Nothing was removed. Leave out --dry-run to remove it.",
    ]
    assert all(path.exists() for path in gone)
    assert fishray("clean", run.path, "--keep", 1)[1].splitlines() == [
        f"runs/tiny: freed {freed:.0f} kB: {tail.format('kept')}",
        more.format("are gone"),
    ]
    assert not any(path.exists() for path in gone)
    assert run.best_path(best).exists()
    again = fishray("clean", run.path, "--keep", 1)
    assert again == (0, "runs/tiny: nothing to free; the weights of the best 1 are kept\n", "")


def test_predict_of_a_cleaned_trial_says_so_and_names_what_is_left(fishray, run, tank_store):
    best, *others = [trial.config.id for trial in run.state().ranked("validation_auc")]
    fishray("clean", run.path, "--keep", 1)
    status, out, err = fishray("predict", run.path, tank_store, "--out", "p.csv", "--trial", others[0])
    assert (status, out) == (2, "")
    assert err == (
        f"fishray: the weights of {others[0]} were cleared by `fishray clean`, or are missing; still there: {best} "
        f"(fishray replay runs/tiny {others[0]} trains it once more, to compare scores, and keeps no weights)\n"
    )
    assert not Path("p.csv").exists()
    assert fishray("predict", run.path, tank_store, "--out", "p.csv")[0] == 0


def test_what_was_cleaned_can_still_be_replayed(fishray, run):
    fishray("clean", run.path, "--keep", 1)
    for trial in ("lstm-0000", "lstm-0002"):
        assert fishray("replay", run.path, trial)[1].splitlines()[-1] == "equal to the journal in all 2 epochs"


@pytest.mark.parametrize("command", ["replay", "clean"])
def test_help_has_an_example_and_explains_every_option(fishray, command):
    text = " ".join(fishray(command, "--help")[1].split())
    assert f"fishray {command} runs/small" in text
    asked = typer.main.get_command(cli.app).commands[command].params
    assert [each.name for each in asked if not each.help or " ".join(each.help.split()) not in text] == []
