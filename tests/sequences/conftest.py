import numpy as np
import pytest

from fishray.store import new_recording, open_store


@pytest.fixture
def store_of(tmp_path):
    """Make a store of speed series, or add some to it."""

    def make(fps=30.0, store="series.zarr", **series):
        path = tmp_path / store
        for name, speed in series.items():
            origin = {"fps": fps, "source": name, "source_sha256": name, "settings": {}, "fishray": "0"}
            with new_recording(path, name, origin) as writer:
                writer.finish(np.asarray(speed, np.float64))
        return open_store(path)

    return make
