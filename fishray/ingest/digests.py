"""What tells one source from another."""

import hashlib
from pathlib import Path


def sha256_of(path: Path, inside: str | None = None) -> str:
    """SHA-256 of a file, as hexadecimal digits; with the name of what is read inside it, of both."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if inside is not None:
        digest.update(b"\0" + inside.encode())
    return digest.hexdigest()
