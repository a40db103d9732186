"""The recordings that a sweep reads: of one store or of several, by name or by pattern."""

import difflib
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from fishray.config.data import DataSettings
from fishray.errors import StoreError
from fishray.sequences.sequence import Sequences
from fishray.store import Recording, Store, open_store

MOST_NAMES = 12
"""Names that are listed of a store that may hold hundreds."""


def find_recordings(data: DataSettings) -> tuple[Recording, ...]:
    """The recordings that a sweep chooses from its stores, in their order.

    Parameters
    ----------
    data
        Its stores, and the names or patterns of its recordings; all of them when left out.

    Raises
    ------
    StoreError
        For a store that cannot be opened, a name or a pattern that no recording has, a name that two stores have, or
        no whole recording at all.
    """
    stores = [open_store(path) for path in data.stores]
    names = tuple(dict.fromkeys(name for store in stores for name in store.names))
    places = ", ".join(str(store.path) for store in stores)
    if not names:
        raise StoreError(
            f"{places} holds no whole recording; ingest one: fishray ingest VIDEO --store {stores[0].path}"
        )
    holds = f"in {places}, which {'hold' if len(stores) > 1 else 'holds'}"
    chosen = choose(data.recordings, names, "data.recordings", holds) if data.recordings else names
    return tuple(_recording(name, stores) for name in chosen)


def taken_from(recordings: Iterable[Recording], sequences: Sequences) -> tuple[Recording, ...]:
    """Those recordings that sequences were cut from."""
    return tuple(recording for recording in recordings if recording.name in sequences.recordings)


def choose(wanted: Iterable[str], names: Collection[str], setting: str, among: str) -> tuple[str, ...]:
    """Names that are wanted, each once; a pattern (``day1_*``, ``[abc]?``) stands for all that match it.

    Parameters
    ----------
    wanted
        Names and patterns.
    names
        What there is, in its order.
    setting, among
        Where they are wanted, and the words before the names, for the error.

    Raises
    ------
    StoreError
        For a name or pattern that matches nothing, with the nearest names.
    """
    chosen: dict[str, None] = {}
    for word in wanted:
        found = [word] if word in names else [name for name in names if fnmatchcase(name, word)]
        if not found:
            raise StoreError(f"{setting}: {_nothing(word, names, among)}")
        chosen |= dict.fromkeys(found)
    return tuple(chosen)


def _nothing(word: str, names: Collection[str], among: str) -> str:
    listed = [*names][:MOST_NAMES] + ([f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else [])
    letters = word.translate({ord(sign): None for sign in "*?[]!"})
    is_pattern = letters != word
    nearest = difflib.get_close_matches(letters, names, n=3 if is_pattern else 1, cutoff=0.4)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    return f"no recording {'matches ' if is_pattern else ''}{word} {among} {', '.join(listed)}{hint}"


def _recording(name: str, stores: Collection[Store]) -> Recording:
    """The one recording of a name."""
    first, *others = [store for store in stores if name in store.names]
    if others:
        place = others[0].path / name
        raise StoreError(
            f"recording {name} stands in {first.path} and in {others[0].path}; give one of them another name: "
            f"mv {place} {place}-2"
        )
    return first.recording(name)
