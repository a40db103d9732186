"""Storage that can be read and no longer be written, while it is in use."""

from pathlib import Path

_SEAL = """
set -e
sealed=$(mktemp -d)
mount --bind "$1" "$sealed"
mount -o remount,bind,ro "$sealed"
mount --bind "$sealed" "$2"
umount "$sealed"
rmdir "$sealed"
"""


def seal_command(folder: Path, place: Path) -> list[str | Path]:
    """Put a read-only view of a folder over a place: what is open stays open.

    It is made read-only where nobody sees it; one that is written through meanwhile could not be.
    """
    return ["bash", "-c", _SEAL, "seal", folder, place]
