"""How many workers a demand needs, and which are too many. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ROUNDING = 1e-9
"""Three thirds of a GPU are one."""

Wanted = Mapping[str, float]
"""What one task asks for: ``cpus`` and ``gpus``."""


@dataclass(frozen=True)
class Size:
    """What one worker has."""

    cpus: int
    gpus: int

    def holds(self, tasks: Iterable[Wanted]) -> bool:
        """Whether tasks fit on it together; a share of a GPU lies on one GPU."""
        cpus, whole, shares = 0.0, 0.0, []
        for task in tasks:
            cpus += task.get("cpus", 0)
            gpus = task.get("gpus", 0)
            if gpus >= 1:
                whole += gpus
            elif gpus > 0:
                shares.append(gpus)
        return cpus <= self.cpus + ROUNDING and whole + _gpus_for(shares) <= self.gpus + ROUNDING


def _gpus_for(shares: Sequence[float]) -> int:
    """GPUs that shares of a GPU fill, the largest first."""
    filled: list[float] = []
    for share in sorted(shares, reverse=True):
        for index, used in enumerate(filled):
            if used + share <= 1 + ROUNDING:
                filled[index] += share
                break
        else:
            filled.append(share)
    return len(filled)


def workers_needed(demand: Sequence[Wanted], size: Size, limit: int) -> int:
    """Workers of a size that a demand fills, up to a limit; each task goes to the first that has room for it.

    A task that no worker holds asks for none.
    """
    workers: list[list[Wanted]] = []
    first_with_room: dict[tuple[tuple[str, float], ...], int] = {}
    """Workers only fill up: one that has no room for a kind of task will have none for the next of it."""
    for task in demand:
        kind = tuple(sorted(task.items()))
        place = first_with_room.get(kind, 0)
        while place < len(workers) and not size.holds([*workers[place], task]):
            place += 1
        first_with_room[kind] = place
        if place < len(workers):
            workers[place].append(task)
        elif len(workers) >= limit:
            break
        elif size.holds([task]):
            workers.append([task])
    return len(workers)


@dataclass(frozen=True)
class Change:
    """What is to be done about the number of workers."""

    submit: int = 0
    withdraw: tuple[str, ...] = ()
    """Jobs that wait in the queue and are not needed any more."""
    release: tuple[str, ...] = ()
    """Workers without work, to be handed back."""


def plan_change(needed: int, least: int, pending: Sequence[str], running: Sequence[str], idle: Sequence[str]) -> Change:
    """What turns the workers that there are into those that are needed.

    Parameters
    ----------
    needed
        Workers that the demand can use, within the limit.
    least
        Workers kept in any case.
    pending
        Jobs that wait in the queue, the oldest first.
    running
        Workers that take work, or soon will; those that drain are none.
    idle
        Those of them that have had nothing to do for long enough.
    """
    needed = max(needed, least)
    have = len(pending) + len(running)
    if have <= needed:
        return Change(submit=needed - have)
    surplus = have - needed
    withdraw = tuple(reversed(pending))[:surplus]
    return Change(withdraw=withdraw, release=tuple(idle[: surplus - len(withdraw)]))
