"""Named arrays in one safetensors file with a checksum, written whole or not at all. Nothing is ever unpickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fishray.errors import WeightsError
from fishray.files import written_aside

Arrays = dict[str, NDArray[Any]]

BEST = "best."
"""Prefix of what a checkpoint holds of the best epoch so far: all that `write_weights` was given for it."""


def write_weights(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any], *, keep_previous: bool = False
) -> None:
    """Write arrays, and JSON values by name; `keep_previous` as in `written_aside`.

    Raises
    ------
    StorageError
        If it cannot be written; what was at `path` is untouched.
    """
    plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    header = {name: json.dumps(value) for name, value in metadata.items()}
    content = save(plain, {**header, "crc32": str(_checksum(plain, header))})
    with written_aside(path, keep_previous=keep_previous) as part:
        part.write_bytes(content)


def read_weights(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_weights` wrote.

    Raises
    ------
    WeightsError
        If it is missing or damaged.
    """
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            header = dict(file.metadata() or {})
        if int(header.pop("crc32")) != _checksum(arrays, header):
            raise WeightsError(f"{path} is damaged (its checksum differs)")
        return arrays, {name: json.loads(value) for name, value in header.items()}
    except FileNotFoundError as error:
        raise WeightsError(f"no weights at {path}") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({(str(error) or type(error).__name__).splitlines()[0]})") from error


def best_of(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """What a checkpoint holds of its best epoch; both are empty if there is none yet."""
    return below(arrays, BEST), below(metadata, BEST)


def below(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Those whose name begins with a prefix, by the rest of their name."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def under(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The same values, each name behind a prefix."""
    return {f"{prefix}{name}": value for name, value in values.items()}


def _checksum(arrays: Mapping[str, NDArray[Any]], header: Mapping[str, str]) -> int:
    total = crc32(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        total = crc32(arrays[name].tobytes(), crc32(name.encode(), total))
    return total
