"""The data block of a sweep: stores, recordings, splits and folds."""

from pathlib import Path

import pytest

from fishray.config.data import Folds, Split
from fishray.config.loader import dump_sweep, load_sweep
from fishray.errors import SweepFileError
from fishray.runs import Run

SWEEP = """\
name: mine
data:
  store: {store}
  split: {split}
families: {{lstm: {{trials: 2}}}}
"""
TIME = "{train: 0.6, validation: 0.4}"


@pytest.fixture
def load(tmp_path):
    def load_data(split=TIME, store="tank.zarr", *overrides):
        path = tmp_path / "mine.yaml"
        path.write_text(SWEEP.format(store=store, split=split))
        return load_sweep(path, overrides)

    return load_data


def fault_of(load, *words):
    with pytest.raises(SweepFileError) as caught:
        load(*words)
    _, row = str(caught.value).splitlines()
    return " ".join(row.split())


def test_a_store_is_one_path_or_several(load):
    assert load(store="a.zarr").data.stores == (Path("a.zarr"),)
    assert load(store="[a.zarr]").data.store == Path("a.zarr")
    assert load(store="[a.zarr, b/c.zarr]").data.stores == (Path("a.zarr"), Path("b/c.zarr"))
    assert load(TIME, "a.zarr", "data.store=[b.zarr, c.zarr]").data.stores == (Path("b.zarr"), Path("c.zarr"))


def test_folds_are_told_from_a_split_by_their_keys(load):
    assert load("{by: recording, folds: 3, test: [a, b_*]}").data.split == Folds(folds=3, test=("a", "b_*"))
    assert load("{by: recording}").data.split == Folds(folds=5)
    assert load("{folds: 2}").data.split == Folds(folds=2)
    assert load("{train: [a_*], validation: [b]}").data.split == Split(train=("a_*",), validation=("b",))
    assert load(TIME, "a.zarr", "data.split={by: recording, folds: 4}").data.split == Folds(folds=4)


@pytest.mark.parametrize("split", [TIME, "{by: recording, folds: 3, test: [a]}"], ids=["time", "folds"])
@pytest.mark.parametrize("store", ["a.zarr", "[a.zarr, b.zarr]"], ids=["one", "two"])
def test_a_resolved_sweep_reads_as_it_was_written(load, tmp_path, split, store):
    sweep = load(split, store)
    run = Run.claim(tmp_path / "run")
    dump_sweep(sweep, run.path / "sweep.yaml", provenance={})
    assert run.resolved()[0] == sweep


@pytest.mark.parametrize(
    ("split", "fault"),
    [
        ("{by: recording, folds: 1}", "line 4 data.split.folds 1: must be greater than or equal to 2"),
        ("{by: recordings}", "line 4 data.split.by 'recordings' is not allowed; did you mean recording?"),
        ("{by: recording, fold: 3}", "line 4 data.split.fold unknown setting; did you mean folds?"),
        ("{trian: 0.6}", "line 4 data.split.trian unknown setting; did you mean train?"),
        ("{by: recording, folds: 3, train: 0.6}",
         "line 4 data.split folds make train and validation themselves, from every recording that is not in test; "
         "leave out train"),
        ("{folds: 3, train: [a], validation: [b]}",
         "line 4 data.split folds make train and validation themselves, from every recording that is not in test; "
         "leave out train and validation"),
        ("{by: recording, folds: 3, test: 0.2}",
         "line 4 data.split.test 0.2: must be a list of recordings ([a, day1_*])"),
        ("{by: recording, folds: 3, test: []}",
         "line 4 data.split.test []: must be a list of recordings ([a, day1_*])"),
        ("folds", "line 4 data.split 'folds': must be a mapping of settings"),
    ],
)  # fmt: skip
def test_a_fault_of_folds_names_its_line_its_key_and_the_remedy(load, split, fault):
    assert fault_of(load, split) == fault


@pytest.mark.parametrize(
    ("store", "fault"),
    [
        ("3", "line 3 data.store 3: must be a store (tank.zarr) or a list of stores ([a.zarr, b.zarr])"),
        ("[]", "line 3 data.store []: must be a store (tank.zarr) or a list of stores ([a.zarr, b.zarr])"),
        ("[a.zarr, 3]",
         "line 3 data.store ['a.zarr', 3]: must be a store (tank.zarr) or a list of stores ([a.zarr, b.zarr])"),
        ("[a.zarr, b.zarr, a.zarr]", "line 3 data.store a.zarr stands twice"),
        ("[a.zarr, b.zarr]\n  simulate: {minutes: 8}",
         "line 2 data simulate makes one store, and there are several; give one, or leave simulate out"),
    ],
)  # fmt: skip
def test_a_fault_of_stores_names_its_line_its_key_and_the_remedy(load, store, fault):
    assert fault_of(load, TIME, store) == fault
