"""Small files that others read while they are written: each is whole or absent."""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put a value in a file, readable to its owner alone, in one move."""
    with _written_aside(path, json.dumps(value)) as part:
        part.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """What a file holds; None if it is not there (yet), or cannot be read just now.

    On NFS, a file that another machine replaces while it is read is stale.
    """
    with suppress(OSError, ValueError):
        value = json.loads(path.read_text())
        return value if isinstance(value, dict) else None
    return None


def private_directory(path: Path) -> Path:
    """Make a directory that its owner alone can read."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def make_token(path: Path) -> None:
    """Write a new secret, unless there is one, that never was readable to others."""
    with _written_aside(path, secrets.token_hex(32)) as part, suppress(FileExistsError):
        path.hardlink_to(part)


@contextmanager
def _written_aside(path: Path, text: str) -> Iterator[Path]:
    """Give a file beside a path that holds a text, readable to its owner alone; it is gone afterwards."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.touch(mode=0o600)
        part.write_text(text)
        yield part
    finally:
        part.unlink(missing_ok=True)
