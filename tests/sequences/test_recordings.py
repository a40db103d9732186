import re
import subprocess

import numpy as np
import pytest

from fishray.config.data import DataSettings
from fishray.errors import StoreError
from fishray.sequences.recordings import find_recordings
from fishray.store import fingerprint

STILL = np.zeros(9)


@pytest.fixture
def two_stores(store_of):
    """Monday has a morning and two tanks, Tuesday a tank and a noon."""
    monday = store_of(store="monday.zarr", monday_am=STILL, tank10=STILL, tank2=STILL)
    return monday, store_of(store="tuesday.zarr", tank3=STILL, noon=STILL)


def found(stores, recordings=None):
    paths = tuple(store.path for store in stores)
    chosen = None if recordings is None else tuple(recordings)
    return [each.name for each in find_recordings(DataSettings(store=paths, recordings=chosen))]


def test_all_recordings_are_read_store_after_store_in_natural_order(two_stores):
    assert found(two_stores) == ["monday_am", "tank2", "tank10", "noon", "tank3"]
    assert found(two_stores[::-1]) == ["noon", "tank3", "monday_am", "tank2", "tank10"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["tank*"], ["tank2", "tank10", "tank3"]),
        (["noon", "tank?"], ["noon", "tank2", "tank3"]),
        (["tank[23]"], ["tank2", "tank3"]),
        (["tank3", "tank*"], ["tank3", "tank2", "tank10"]),  # each once, where it was first named
    ],
)
def test_recordings_are_chosen_by_name_and_pattern_across_stores(two_stores, words, names):
    assert found(two_stores, words) == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["noon", "tank7"], "data.recordings: no recording tank7 in {}, {}, which hold monday_am, tank2, tank10, noon, "
                            "tank3; did you mean tank3?"),
        (["tuesday_*"], "data.recordings: no recording matches tuesday_* in {}, {}, which hold monday_am, tank2, "
                        "tank10, noon, tank3; did you mean monday_am?"),
        (["Tank*"], "data.recordings: no recording matches Tank* in {}, {}, which hold monday_am, tank2, tank10, noon, "
                    "tank3; did you mean tank3 or tank2 or tank10?"),
    ],
)  # fmt: skip
def test_what_matches_nothing_is_refused_with_the_nearest_names(two_stores, words, message):
    paths = [store.path for store in two_stores]
    with pytest.raises(StoreError, match=f"^{re.escape(message.format(*paths))}$"):
        found(two_stores, words)


def test_of_hundreds_of_recordings_a_dozen_are_named(store_of):
    store = store_of(**{f"tank{number}": STILL for number in range(1, 15)})
    with pytest.raises(StoreError, match="tank11, tank12, 2 more; did you mean tank"):
        found([store], ["tenk"])


def test_a_name_in_two_stores_is_refused_where_it_is_chosen_and_the_remedy_cures_it(two_stores, store_of):
    monday = two_stores[0]
    wednesday = store_of(store="wednesday.zarr", tank2=STILL, evening=STILL)
    assert found([monday, wednesday], ["evening", "monday_am"]) == ["evening", "monday_am"]
    with pytest.raises(StoreError, match="recording tank2 stands in .*monday.zarr and in .*wednesday.zarr") as refused:
        found([monday, wednesday])
    remedy = str(refused.value).partition("give one of them another name: ")[2]
    assert remedy == f"mv {wednesday.path}/tank2 {wednesday.path}/tank2-2"
    subprocess.run(remedy.split(), check=True)
    assert found([monday, wednesday]) == ["monday_am", "tank2", "tank10", "evening", "tank2-2"]


def test_the_fingerprint_is_over_all_stores_and_knows_no_paths(store_of, tmp_path):
    one = store_of(store="one.zarr", a=STILL, b=STILL + 1)
    apart = (store_of(store="first.zarr", b=STILL + 1), store_of(store="second.zarr", a=STILL))
    other = (apart[0], store_of(store="third.zarr", a=STILL + 2))

    def of(*stores):
        return fingerprint(find_recordings(DataSettings(store=tuple(store.path for store in stores))))

    assert of(one) == one.fingerprint(["b", "a"]) == of(*apart) == of(*apart[::-1])
    assert of(*other) != of(one)
