"""What is refused before a sweep starts, where it takes data to see it."""

import pytest

from fishray.config.loader import load_sweep
from fishray.errors import StoreError
from fishray.store import annotate
from fishray.tuning.preparation import SIMULATED, prepare_store

TANK = """
data: {store: tank.zarr, simulate: {minutes: 0.1, fish: 2, height: 48, width: 64}}
families: {lstm: {trials: 1}}
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep on a tank of six seconds, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(TANK)
    return tmp_path / "sweep.yaml"


def silent(*_):
    pass


def test_a_tank_is_simulated_once(sweep):
    calls = []
    for _ in range(2):
        store = prepare_store(load_sweep(sweep), lambda what, done, total: calls.append((what, done == total)))
        assert store.recording("tank").frame_count == 180  # 6 s at 30 fps
    assert [what for what, whole in calls if whole] == ["simulating a tank", "ingesting it"]


def test_another_tank_than_the_one_in_the_store_is_refused(sweep):
    first = prepare_store(load_sweep(sweep), silent).fingerprint(["tank"])
    with pytest.raises(StoreError, match=r"seed 0, not 3.*--set data\.store=tank-2\.zarr"):
        prepare_store(load_sweep(sweep, ["data.simulate.seed=3"]), silent)
    assert prepare_store(load_sweep(sweep), silent).fingerprint(["tank"]) == first


def test_a_tank_of_a_fishray_that_knew_fewer_settings_is_another_tank(sweep):
    made = prepare_store(load_sweep(sweep), silent)
    older = dict(made.recording("tank").attributes[SIMULATED])
    del older["arena"]
    annotate(made.path, "tank", **{SIMULATED: older})
    with pytest.raises(StoreError, match="arena None, not rectangle"):
        prepare_store(load_sweep(sweep), silent)
