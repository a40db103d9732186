import json

import pytest

from fishray.config.sweep import Sweep
from fishray.errors import RunError, SettingError
from fishray.runs import Run
from fishray.tuning.searchers import check_warm_start, make_searcher
from fishray.tuning.space import make_trial

every_searcher = pytest.mark.parametrize("searcher", ["random", "grid", "tpe"])


@pytest.fixture
def earlier(tmp_path):
    """Make a run from trials: family, settings, AUC, J and whether it collapsed."""

    def make(*trials, model="lstm", metric="validation_auc"):
        families = {name: {"model": model, "trials": len(trials)} for name, *_ in trials} or {
            "lstm": {"model": model, "trials": 1}
        }
        sweep = Sweep.model_validate_json(json.dumps({
            "name": "earlier", "data": {"store": "tank.zarr"}, "families": families, "search": {"metric": metric},
        }))  # fmt: skip
        run = Run.claim(tmp_path / "earlier")
        run.write_sweep(sweep, {})
        for number, (name, settings, auc, youden_j, collapsed) in enumerate(trials):
            config = make_trial(0, name, sweep.families[name], number, settings)
            run.journal.append("trial", config=config.model_dump(mode="json"))
            run.journal.append(
                "result", trial=config.id, epoch=1, best_epoch=1, collapsed=collapsed,
                validation_auc=auc, validation_youden_j=youden_j,
            )  # fmt: skip
        return str(run.path)

    return make


def first(sweep, family="lstm"):
    return make_searcher(sweep).draw(family, 0, ())


@every_searcher
def test_the_first_trial_takes_what_the_best_one_had_in_this_space(make_sweep, earlier, searcher):
    path = earlier(
        ("lstm", {"hidden": 9, "cell": "lstm", "layers": 2, "dropout": 0.5}, 0.6, 0.1, False),
        ("lstm", {"hidden": 10, "cell": "gru", "layers": 4, "dropout": 0.5}, 0.9, 0.1, False),
    )
    sweep = make_sweep(searcher, fixed={"batch_size": 3}, warm_start=path)
    check_warm_start(sweep)
    without = first(make_sweep(searcher, fixed={"batch_size": 3}))
    values = {"hidden": 10, "cell": "gru", "layers": 4}  # dropout is not in this space
    assert first(sweep) == without.model_copy(update={"settings": without.settings.model_copy(update=values)})


@every_searcher
def test_all_other_trials_are_drawn_as_without(make_sweep, earlier, searcher):
    path = earlier(("lstm", {"hidden": 9}, 0.6, 0.1, False))
    warm, cold = (make_searcher(make_sweep(searcher, **more)) for more in ({"warm_start": path}, {}))
    for number in range(1, 8):
        assert warm.draw("lstm", number, ()) == cold.draw("lstm", number, ())


def test_what_is_fixed_now_stays(make_sweep, earlier):
    path = earlier(("lstm", {"hidden": 99, "layers": 4}, 0.6, 0.1, False))
    settings = first(make_sweep(space={"layers": {"choice": [1, 2]}}, fixed={"hidden": 7}, warm_start=path)).settings
    assert (settings.hidden, settings.layers) == (7, 4)  # 4 layers are beyond the space, and taken


def test_best_is_by_the_metric_of_the_earlier_run(make_sweep, earlier):
    path = earlier(
        ("lstm", {"hidden": 9}, 0.9, 0.1, False),
        ("lstm", {"hidden": 10}, 0.6, 0.5, False),
        metric="validation_youden_j",
    )
    assert first(make_sweep(warm_start=path)).settings.hidden == 10


def test_a_collapsed_trial_is_best_only_among_its_like(make_sweep, earlier):
    path = earlier(("lstm", {"hidden": 9}, 0.9, 0.1, True), ("lstm", {"hidden": 10}, 0.6, 0.1, False))
    assert first(make_sweep(warm_start=path)).settings.hidden == 10


def test_each_family_starts_from_its_own_and_others_as_without(make_sweep, earlier):
    path = earlier(("lstm", {"hidden": 77}, 0.6, 0.1, False), ("second", {"hidden": 88}, 0.9, 0.1, False))
    more = {
        name: {"model": "lstm", "trials": 2, "space": {"hidden": {"randint": [8, 11]}}} for name in ("second", "third")
    }
    sweep = make_sweep(more=more, warm_start=path)
    check_warm_start(sweep)
    assert [first(sweep, name).settings.hidden for name in ("lstm", "second")] == [77, 88]
    assert first(sweep, "third") == first(make_sweep(more=more), "third")


def test_a_family_of_another_model_gives_nothing(make_sweep, earlier):
    path = earlier(("lstm", {"layers": 4}, 0.6, 0.1, False), ("net", {"layers": 4}, 0.6, 0.1, False))
    more = {"net": {"model": "convlstm", "trials": 1, "space": {"kernel": {"choice": [3, 5]}}}}
    sweep = make_sweep(more=more, warm_start=path)
    assert first(sweep, "net") == first(make_sweep(more=more), "net")


def test_a_path_without_a_run_is_refused(make_sweep, tmp_path):
    with pytest.raises(RunError, match=f"no run at {tmp_path}"):
        check_warm_start(make_sweep(warm_start=str(tmp_path)))


def test_a_run_without_a_result_is_refused(make_sweep, earlier):
    path = earlier()
    with pytest.raises(
        RunError, match=r"search\.warm_start: no trial of .*earlier has a result yet; see: fishray status"
    ):
        check_warm_start(make_sweep(warm_start=path))


def test_a_run_of_other_families_is_refused(make_sweep, earlier):
    path = earlier(("net", {"hidden": 9}, 0.6, 0.1, False))
    with pytest.raises(RunError, match=r"earlier has no result of a family of this sweep: lstm \(lstm\); leave it out"):
        check_warm_start(make_sweep(warm_start=path))


def test_a_step_longer_than_this_look_back_is_refused(make_sweep, earlier):
    path = earlier(("lstm", {"frames_per_step": 121}, 0.6, 0.1, False))
    steps = {"frames_per_step": {"choice": [1, 2]}}
    message = r"frames_per_step 121 of lstm-0000 in .*earlier is above data\.look_back 120; .*--set data\.look_back=121"
    with pytest.raises(SettingError, match=message):
        check_warm_start(make_sweep(space=steps, warm_start=path))
    check_warm_start(make_sweep(warm_start=path))  # not taken where it is not in the space


def test_only_the_first_trial_of_a_family_needs_the_earlier_run(
    make_sweep, tmp_path
):  # it may be gone when a run goes on
    gone = make_searcher(make_sweep(warm_start=str(tmp_path)))
    assert gone.draw("lstm", 1, ()) == make_searcher(make_sweep()).draw("lstm", 1, ())
    with pytest.raises(RunError, match="no run at"):
        gone.draw("lstm", 0, ())
