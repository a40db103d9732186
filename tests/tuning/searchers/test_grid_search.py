import tracemalloc
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fishray.tuning.searchers import make_searcher
from fishray.tuning.searchers.grid_search import ShuffledRange


def points(sweep, trials, *keys):
    searcher = make_searcher(sweep)
    settings = [searcher.draw("lstm", number, ()).settings for number in range(trials)]
    return [tuple(getattr(each, key) for key in keys) for each in settings]


def test_every_point_is_drawn_once(make_sweep):  # 4 x 2 x 3
    drawn = points(make_sweep("grid", trials=24), 24, "hidden", "cell", "layers")
    assert sorted(drawn) == sorted(product([8, 9, 10, 11], ["lstm", "gru"], [1, 2, 4]))


def test_a_value_given_twice_counts_twice(make_sweep):
    space = {"cell": {"choice": ["lstm", "gru", "lstm"]}}
    drawn = points(make_sweep("grid", space, trials=3), 3, "cell")
    assert Counter(drawn) == {("lstm",): 2, ("gru",): 1}


def test_the_order_of_keys_changes_nothing(make_sweep):
    space = {"hidden": {"randint": [8, 11]}, "layers": {"choice": [1, 2, 4]}}
    other = {"layers": {"choice": [1, 2, 4]}, "hidden": {"randint": [8, 11]}}
    keys = ("hidden", "layers")
    assert points(make_sweep("grid", space, 12), 12, *keys) == points(make_sweep("grid", other, 12), 12, *keys)


def test_the_first_point_is_any_of_the_grid(make_sweep):  # 24 points: 40 times each, give or take 6.2
    sweeps = [make_sweep("grid", trials=24, seed=seed) for seed in range(960)]
    first = Counter(points(sweep, 1, "hidden", "cell", "layers")[0] for sweep in sweeps)
    assert len(first) == 24
    assert all(abs(count - 40) < 28 for count in first.values())


def test_a_grid_may_be_larger_than_memory(make_sweep):  # 10^21 points
    space = {key: {"randint": [1, 10**7]} for key in ("hidden", "batch_size", "judged_frames")}
    tracemalloc.start()
    try:
        drawn = points(make_sweep("grid", space, trials=50), 50, *space)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
    assert len(set(drawn)) == 50
    for values in zip(*drawn, strict=True):
        assert sum(value > 5_000_000 for value in values) == pytest.approx(25, abs=15)  # four deviations of 50 coins


@given(st.integers(1, 300), st.text(max_size=5), st.data())
def test_a_shuffled_range_is_a_permutation_wherever_it_is_asked(count, seed, data):
    place = data.draw(st.integers(0, count - 1))
    order = ShuffledRange(count, seed)
    there = order[place]
    shuffled = [order[each] for each in range(count)]
    assert shuffled[place] == there
    assert sorted(shuffled) == list(range(count))
