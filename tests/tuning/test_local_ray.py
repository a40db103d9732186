"""Where Ray keeps its files on a node."""

import tempfile
from pathlib import Path

import pytest

from fishray.scratch import SHORT
from fishray.tuning import local_ray


@pytest.mark.parametrize("longer", [0, 1])
def test_a_temporary_directory_whose_sockets_would_not_fit_is_left_for_a_short_one(monkeypatch, longer):
    room = local_ray.LONGEST_SOCKET - local_ray.SOCKET_BELOW + longer
    usual = "/" + "t" * (room - 1)
    monkeypatch.setattr(tempfile, "tempdir", usual)
    assert local_ray._room_for_sockets() == (SHORT if longer else Path(usual))
