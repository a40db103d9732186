"""What a recording's codec adds to its speed ỹ: short spikes, evenly spaced, where key frames lie."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

SHORTEST_PERIOD, LONGEST_PERIOD = 6, 300
"""Frames between key frames that are looked for; codecs put one every 12 to 250."""
FEWEST_SPIKES = 5
LEAST_SHARE = 0.25
"""Of the places of a grid, how many must hold a spike; bursts cover the others."""
KEPT_SHARE = 0.75
"""Half the true period has half the share."""
LEAST_HEIGHT = 1.2
RISE = 2.0
"""Rise over what lies before and behind, in medians of the change between speeds nearby, that makes a spike. In
recordings without key frames to be seen, real and simulated, 2 to 5 % of speeds rise so far."""
STEEP_RISE = 8.0
"""Of theirs less than 0.1 % rise so far: a few such spikes tell a long period already in a recording of a minute."""
NEARBY = 8
LOG_CHANCE = np.log(1e-4)
"""A grid is believed where chance would give one as good in fewer than one recording in ten thousand."""
PERIODS_AT_FIRST = 128
"""How many periods are searched before the period is known well enough to be followed through the recording."""


@dataclass(frozen=True)
class SpikeGrid:
    """Evenly spaced speeds that stand above their neighbours."""

    period: float
    """From one to the next [frames]; not whole where a recording's frame rate was converted."""
    phase: float
    """Place of the first in the series of speeds."""
    height: float
    """Median ratio of such a speed to the median of the two before and the two behind the spike."""
    share: float
    """Of the places of the grid, how many hold a spike."""
    width: int = 1
    """Speeds of a spike, 1 or 2: some encoders need a second frame to settle."""

    def places(self, speeds: int) -> NDArray[np.int64]:
        """Places of the grid in a series of so many speeds, each the first of its spike."""
        count = max(0, int(np.ceil((speeds - 0.5 - self.phase) / self.period)))
        places: NDArray[np.int64] = np.rint(self.phase + self.period * np.arange(count)).astype(np.int64)
        return places


def find_spikes(speed: NDArray[np.float64]) -> SpikeGrid | None:
    """Find evenly spaced spikes of one frame or two, as a codec's key frames leave them.

    A key frame is coded anew, those between as changes alone: where little moves, the picture jumps at each key frame,
    and such a jump looks like a burst.

    Parameters
    ----------
    speed : shape (S,)
        Speed ỹ.

    Returns
    -------
    SpikeGrid or None
        None where there is no such grid, or too few spikes to tell it from chance. Repeated frames, between which the
        speed is exactly 0, are none either.
    """
    for rise in (RISE, STEEP_RISE):
        spikes = np.flatnonzero(_is_spike(speed, rise))
        found = _search(spikes, len(speed)) if len(spikes) >= FEWEST_SPIKES else None
        if found is not None:
            break
    else:
        return None
    period, phase = _follow(spikes, *found, len(speed))
    period, phase = _fundamental(spikes, period, phase, len(speed))
    if not SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
        return None
    return _measured(speed, spikes, period, phase)


def repair_spikes(speed: NDArray[np.float64], grid: SpikeGrid) -> NDArray[np.float64]:
    """Cut each spike of a grid down to the speed before it.

    To that alone, for one behind it would tell what comes next: who predicts at frame t + 1 knows ỹ_t. A speed that is
    no higher than the one before stays, and so does the very first.

    Parameters
    ----------
    speed : shape (S,)
        Speed ỹ.
    grid
        Where the spikes lie.

    Returns
    -------
    shape (S,)
        A new array.
    """
    repaired = speed.copy()
    places = grid.places(len(speed))
    places = places[places > 0]
    for step in range(grid.width):
        inside = places[places + step < len(speed)]
        repaired[inside + step] = np.minimum(speed[inside + step], speed[inside - 1])
    return repaired


def _is_spike(speed: NDArray[np.float64], least_rise: float) -> NDArray[np.bool_]:
    """Whether each speed rises far above the one before it, and above the next or the one after, by changes nearby."""
    if len(speed) < 2 * NEARBY:
        return np.zeros(len(speed), np.bool_)
    change = np.abs(np.diff(speed))
    around = sliding_window_view(np.pad(change, NEARBY, mode="reflect"), 2 * NEARBY)
    usual = np.median(around, axis=1)[1 : len(speed) - 1]
    behind = np.minimum(speed[2:], np.append(speed[3:], np.inf))
    rise = speed[1:-1] - np.maximum(speed[:-2], behind)
    return np.pad((rise > least_rise * usual) & (rise > 0), 1)


def _search(spikes: NDArray[np.int64], speeds: int) -> tuple[float, float, float] | None:
    """Period, phase and the length searched, of the grid that chance would give least; None where it might."""
    rate = len(spikes) / speeds
    best, best_chance, tried = None, 0.0, 0
    for whole in range(2, LONGEST_PERIOD + 1):
        rows = min(PERIODS_AT_FIRST, speeds // whole)
        if rows < FEWEST_SPIKES:
            break
        near = spikes[spikes < rows * whole]
        periods = whole + np.arange(rows) / rows  # a step drifts by one frame over all rows
        hits, phases = _fold(near, periods)
        tried += rows * whole
        row = int(hits.argmax())
        chance = _log_chance(int(hits[row]), rows, rate)
        if chance < best_chance:
            best, best_chance = (float(periods[row]), float(phases[row]), float(rows * whole)), chance
    return best if best_chance + np.log(max(1, tried)) < LOG_CHANCE else None


def _log_chance(hits: int, places: int, rate: float) -> float:
    """Logarithm of a bound on the chance of so many spikes at so many places (Chernoff 1952)."""
    share = hits / places
    if share <= rate:
        return 0.0
    missing = (1 - share) * np.log((1 - share) / (1 - rate)) if hits < places else 0.0
    return -places * float(share * np.log(share / rate) + missing)


def _fold(spikes: NDArray[np.int64], periods: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each period the most spikes that share a phase to within a frame, and that phase."""
    bins = 2 * int(np.ceil(periods[-1]))  # of half a frame
    place = (2 * np.mod(spikes, periods[:, None])).astype(np.int64)
    row = np.arange(len(periods))[:, None]
    count = np.bincount((row * bins + place).ravel(), minlength=len(periods) * bins).reshape(len(periods), bins)
    together = count + np.roll(count, -1, axis=1)
    phase_bin = together.argmax(axis=1)
    return together.max(axis=1), phase_bin / 2


def _follow(spikes: NDArray[np.int64], period: float, phase: float, length: float, speeds: int) -> tuple[float, float]:
    """Period and phase by least squares, first over `length` speeds and then over twice as many, until over all."""
    while True:
        turn = np.rint((spikes - phase) / period)
        near = (np.abs(spikes - phase - turn * period) <= 1) & (spikes < length)
        if near.sum() >= FEWEST_SPIKES and np.ptp(turn[near]):
            period, phase = np.polyfit(turn[near], spikes[near], 1)
        if length >= speeds:
            break
        length = min(2 * length, speeds)
    if abs(period - round(period)) * speeds / period < 1:  # no drift of a frame over the whole recording
        period = round(period)
        phase = float(np.bincount(np.mod(spikes, round(period))).argmax())
    return float(period), float(np.mod(phase + 0.5, period) - 0.5)


def _fundamental(spikes: NDArray[np.int64], period: float, phase: float, speeds: int) -> tuple[float, float]:
    """Divide a period that is a multiple of the true one: the places between hold spikes just as often."""
    share = _share(spikes, period, phase, speeds)
    for parts in range(int(period / 2), 1, -1):
        finer = _follow(spikes, period / parts, phase, speeds, speeds)
        if _share(spikes, *finer, speeds) > KEPT_SHARE * share:
            return finer
    return period, phase


def _share(spikes: NDArray[np.int64], period: float, phase: float, speeds: int) -> float:
    """Share of the places of a grid that hold a spike, but for the border, where none is seen."""
    places = SpikeGrid(period, phase, 1.0, 1.0).places(speeds)
    places = places[(places > 0) & (places < speeds - 1)]
    return float(np.isin(places, spikes).mean()) if len(places) else 0.0


def _measured(speed: NDArray[np.float64], spikes: NDArray[np.int64], period: float, phase: float) -> SpikeGrid | None:
    places = SpikeGrid(period, phase, 1.0, 1.0).places(len(speed))
    places = places[(places >= 2) & (places < len(speed) - 3)]
    share = float(np.isin(places, spikes).mean()) if len(places) else 0.0
    if len(places) < FEWEST_SPIKES or share < LEAST_SHARE:
        return None
    beside = np.median(np.stack([speed[places + step] for step in (-2, -1, 2, 3)]), axis=0)
    if np.median(beside) == 0:
        return None
    height = float(np.median(speed[places][beside > 0] / beside[beside > 0]))
    first, second = (float(np.median(speed[places + step] - beside)) for step in (0, 1))
    return SpikeGrid(period, phase, height, share, 2 if second > first / 2 else 1) if height >= LEAST_HEIGHT else None
