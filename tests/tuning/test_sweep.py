"""What is written down of a sweep that ends before its end."""

from types import SimpleNamespace

import pytest

from fishray.errors import ResourceError, RunError, StorageError
from fishray.runs import RunState
from fishray.tuning.interruption import Interruption
from fishray.tuning.sweep import _early_end_recorded
from hpc.errors import ClusterError


def end(error, status="running"):
    """What a sweep's journal gets when this is raised."""
    written = []
    driver = SimpleNamespace(state=RunState(status=status))
    with (
        pytest.raises(type(error)),
        _early_end_recorded(driver, lambda event, **fields: written.append((event, fields)), Interruption()),
    ):
        raise error
    return written


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (StorageError("runs/a cannot be written"), "interrupted"),
        (ClusterError("worker 3 ended before it joined"), "interrupted"),
        (ResourceError("a GPU was asked for"), "interrupted"),
        (RunError("line 3 is damaged"), "failed"),
        (ZeroDivisionError("division by zero"), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_can_be_mended_interrupts_a_sweep_and_anything_else_fails_it(error, status):
    ((event, fields),) = end(error)
    assert (event, fields["status"]) == ("finish", status)


@pytest.mark.parametrize("status", ["finished", "interrupted", "failed"])
def test_what_strikes_while_things_are_put_away_changes_no_end(status):
    assert end(KeyboardInterrupt(), status) == []
