"""A virtual environment in one file, which a node reads at once instead of its tens of thousands of small ones.

What is unpacked runs wherever it lies: Python finds its packages by where ``bin/python`` stands, and the Python under
it stays where it is, as do packages that are installed as editable. Scripts in ``bin`` name the place that they were
made for; ``bin/python -m`` is meant to be used.
"""

import hashlib
import io
import os
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpc.errors import ClusterError

IDENTITY = "packed-environment"
"""The first file of a pack: a digest of what was packed."""

_UNPACKED = "or leave it where it is: cluster: {environment: shared}"


@dataclass(frozen=True)
class Pack:
    """An environment in one file."""

    path: Path
    size_bytes: int
    is_new: bool
    """Whether it was packed just now; False: it was there."""


def pack_environment(prefix: Path, target: Path) -> Pack:
    """Put a virtual environment in one tar file, unless that holds it already.

    Parameters
    ----------
    prefix
        The environment, ``sys.prefix``.
    target
        The file, on storage that every node sees. It is whole or absent, and readable to its owner alone.

    Raises
    ------
    ClusterError
        If it is no virtual environment, or cannot be read or written; with what to do instead.
    """
    prefix = prefix.absolute()
    _refuse_what_cannot_move(prefix)
    identity = identify(prefix)
    if packed_identity(target) == identity:
        return Pack(target, target.stat().st_size, is_new=False)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        part.touch(mode=0o600)
        _write(prefix, identity, part)
        if identify(prefix) != identity:
            raise ClusterError(f"{prefix} was changed while it was packed; try again when that is over")
        part.replace(target)
    except (OSError, tarfile.TarError) as error:
        raise ClusterError(f"{prefix} cannot be packed into {target} ({error}); try again, {_UNPACKED}") from error
    finally:
        part.unlink(missing_ok=True)
    return Pack(target, target.stat().st_size, is_new=True)


def identify(prefix: Path) -> str:
    """A digest of what an environment holds: by what its packages' records say, not by reading their files."""
    digest = hashlib.sha256()
    for fact in _facts(prefix):
        digest.update(f"{fact}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def packed_identity(target: Path) -> str | None:
    """The digest of what a file holds; None if it is no pack."""
    with suppress(OSError, tarfile.TarError), tarfile.open(target) as pack:
        first = pack.next()
        file = pack.extractfile(first) if first and first.name == IDENTITY else None
        return file.read().decode() if file else None
    return None


def _facts(prefix: Path) -> Iterator[str]:
    """What changes when a package is installed, upgraded or removed."""
    yield str(prefix)
    yield os.path.realpath(prefix / "bin" / "python")
    yield (prefix / "pyvenv.cfg").read_text(errors="surrogateescape")
    for packages in sorted({path.resolve() for path in prefix.glob("lib*/python*/site-packages")}):
        for path in sorted(set(packages.iterdir()) - {packages / "__pycache__"}):
            told_by = path / "RECORD" if path.suffix == ".dist-info" else path
            facts = told_by.stat() if told_by.is_file() else None  # a folder's time changes with its __pycache__
            yield f"{path.name} {facts.st_mtime_ns} {facts.st_size}" if facts else path.name


def _refuse_what_cannot_move(prefix: Path) -> None:
    if (prefix / "pyvenv.cfg").is_file():
        return
    if (prefix / "conda-meta").is_dir():
        raise ClusterError(
            f"{prefix} is an environment of conda's, which runs only where it was made; pack it with conda-pack and "
            f"unpack it in lines of cluster.setup, {_UNPACKED}"
        )
    raise ClusterError(
        f"{prefix} is no virtual environment, but a Python of this machine's; make one (python3 -m venv .venv), "
        f"{_UNPACKED}"
    )


def _write(prefix: Path, identity: str, part: Path) -> None:
    def movable(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if member.issym():
            member.linkname = _link(prefix, prefix / member.name, member.linkname)
        return member

    # GNU's format has whole seconds, as compiled files have of their sources, and no more than a header for each file
    with part.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as pack:
            first = tarfile.TarInfo(IDENTITY)
            first.size = len(identity)
            pack.addfile(first, io.BytesIO(identity.encode()))
            for path in sorted(prefix.iterdir()):
                pack.add(path, arcname=path.name, filter=movable)
        file.flush()
        os.fsync(file.fileno())


def _link(prefix: Path, link: Path, to: str) -> str:
    """Where a link leads when it stands elsewhere: along with what is packed, and to the same place otherwise."""
    target = os.path.normpath(link.parent / to)
    return os.path.relpath(target, link.parent) if Path(target).is_relative_to(prefix) else target
