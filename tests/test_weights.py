"""Weights come back to the last bit, or not at all."""

import numpy as np
import pytest

from fishray.errors import StorageError, WeightsError
from fishray.files import previous
from fishray.weights import BEST, best_of, read_weights, under, write_weights

ARRAYS = {
    "float": np.array([[0.1, np.nan], [np.inf, -0.0]], np.float32),
    "double": np.array([1 / 3]),
    "half": np.array([0.5], np.float16),
    "integer": np.arange(-3, 3),
    "byte": np.array([0, 255], np.uint8),
    "flag": np.array([True, False]),
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "turned": np.arange(6.0).reshape(2, 3).T,
    "every second": np.arange(6)[::2],
}
METADATA = {"epoch": 3, "share": 0.1, "name": "zäh\n", "sizes": [1, None], "score": {"auc": 0.5, "collapsed": False}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("name", ARRAYS)
def test_every_kind_of_array_comes_back_to_the_last_bit(path, name):
    write_weights(path, {name: ARRAYS[name]}, {})
    arrays, _ = read_weights(path)
    read, written = arrays[name], ARRAYS[name]
    assert (read.dtype, read.shape) == (written.dtype, written.shape)
    assert read.tobytes() == written.tobytes()


def test_values_come_back_beside_the_arrays(path):
    write_weights(path, ARRAYS, METADATA)
    arrays, metadata = read_weights(path)
    assert metadata == METADATA
    assert arrays.keys() == ARRAYS.keys()


def test_no_array_at_all_is_something_to_write(path):
    write_weights(path, {}, {})
    assert read_weights(path) == ({}, {})


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_found_wherever_it_is(path, bit):
    write_weights(path, {"a": np.arange(4, dtype=np.float32)}, {"epoch": 12})
    whole, unnoticed = path.read_bytes(), []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            arrays, metadata = read_weights(path)
        except WeightsError:
            continue
        if set(arrays) != {"a"} or arrays["a"].tolist() != [0, 1, 2, 3] or metadata != {"epoch": 12}:
            unnoticed.append((place, arrays, metadata))
    assert unnoticed == []


def test_a_cut_off_file_is_damaged_wherever_it_is_cut(path):
    write_weights(path, {"a": np.arange(4, dtype=np.float32)}, {"epoch": 12})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"checkpoint is damaged \(."):
            read_weights(path)


def test_bytes_behind_the_end_are_damage(path):
    write_weights(path, {"a": np.arange(4)}, {})
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(WeightsError, match=r"checkpoint is damaged \("):
        read_weights(path)


def test_a_missing_file_is_called_missing(path):
    with pytest.raises(WeightsError, match=r"no weights at .*checkpoint"):
        read_weights(path)


def test_a_folder_is_no_file_of_weights(path):
    path.mkdir()
    with pytest.raises(WeightsError, match=r"checkpoint is damaged \("):
        read_weights(path)


def test_storage_that_is_full_leaves_the_earlier_weights(path):
    write_weights(path, {"a": np.arange(4)}, {"epoch": 1})
    path.with_name("checkpoint.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"checkpoint cannot be written \(No space left on device\)"):
        write_weights(path, {"a": np.arange(5)}, {"epoch": 2}, keep_previous=True)
    assert read_weights(path)[1] == {"epoch": 1}
    assert [each.name for each in path.parent.iterdir()] == ["checkpoint"]


def test_the_weights_before_are_kept_if_asked_for(path):
    for epoch in (1, 2, 3):
        write_weights(path, {"a": np.arange(epoch)}, {"epoch": epoch}, keep_previous=True)
    assert [read_weights(each)[1]["epoch"] for each in (path, previous(path))] == [3, 2]


def test_the_best_epoch_is_what_stands_under_its_prefix():
    arrays, metadata = under({"w": ARRAYS["integer"]}, BEST), under({"epoch": 2}, BEST)
    found, said = best_of({"w": ARRAYS["byte"], **arrays}, {"epoch": 5, **metadata})
    assert list(found) == ["w"]
    assert found["w"].tolist() == [-3, -2, -1, 0, 1, 2]
    assert said == {"epoch": 2}
    assert best_of({"w": ARRAYS["byte"]}, {"epoch": 5}) == ({}, {})
