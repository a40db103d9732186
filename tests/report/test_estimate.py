import pytest

from fishray.config.sweep import Sweep
from fishray.report.estimate import Rest, what_is_left


@pytest.fixture
def begun(new_run):
    """One family of nine trials on two CPUs, the first two of which have run one epoch of 10 s."""
    story = new_run(families={"lstm": {"model": "lstm", "trials": 9, "space": {"hidden": {"choice": [8, 16]}}}})
    story.sweep()
    for number in range(2):
        story.trial(f"lstm-000{number}", hidden=8)
        story.start(f"lstm-000{number}")
    return story


def rest(story) -> Rest | None:
    sweep: Sweep = story.run.resolved()[0]
    return what_is_left(story.run.state(), sweep)


def test_nothing_is_promised_before_the_first_epoch(begun):
    assert rest(begun) is None


def test_what_is_left_are_the_epochs_that_halving_leaves(begun):
    begun.clock.now_s = begun.run.state().facts["time"]
    begun.epochs("lstm-0000", 0.8, epoch_s=10)
    begun.clock.now_s -= 10
    begun.epochs("lstm-0001", 0.7, epoch_s=10)
    # 9 trials to epoch 1, 3 to epoch 3, 1 to epoch 9: 21 epochs, 2 of them run; 10 s each on two CPUs
    assert rest(begun) == Rest(pytest.approx(19 * 10), pytest.approx(19 * 10 / 2))


def test_every_worker_that_runs_shares_what_is_left(begun):
    for worker, state in (("1", "running"), ("2", "running"), ("3", "pending"), ("4", "lost")):
        begun.tell("worker", worker=worker, state=state, reason="", node="")
    begun.clock.now_s = begun.run.state().facts["time"]
    begun.epochs("lstm-0000", 0.8, epoch_s=10)
    begun.clock.now_s -= 10
    begun.epochs("lstm-0001", 0.7, epoch_s=10)
    # the 19 epochs of 10 s of the test above, on four CPUs; half as much again, as 20 of 40 CPU-seconds were of use
    assert rest(begun).wall_s == pytest.approx(19 * 10 / 4 * 2)


def test_start_up_stretches_the_estimate(begun):
    begun.clock.now_s = begun.run.state().facts["time"] + 10
    begun.epochs("lstm-0000", 0.8, epoch_s=10)
    # 20 s gone on two CPUs for 10 CPU-seconds of training: four times as slow as training alone
    assert rest(begun).wall_s == pytest.approx(20 * 10 / 2 * 4)


def test_when_all_is_over_nothing_is_left(new_run):
    story = new_run(families={"lstm": {"model": "lstm", "trials": 1, "space": {"hidden": {"choice": [8, 16]}}}})
    story.sweep()
    story.trial("lstm-0000", hidden=8)
    story.start("lstm-0000")
    story.epochs("lstm-0000", 0.8)
    story.end("lstm-0000")
    assert rest(story) == Rest(0, 0)
