"""What is wrong with a recording, each with its numbers and with the option that helps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fishray.signals.artefacts import find_spikes, repair_spikes
from fishray.signals.flicker import find_flicker
from fishray.signals.repeats import find_repeats
from fishray.signals.targets import UNDEFINED, burst_labels
from fishray.signals.thresholds import SuggestedThreshold

TRAIN_SHARE, SMALLEST_SHARE, LOOK_BACK = 0.6, 0.2, 120
"""Of the default split and look-back of a sweep."""
BRIGHTNESS_DRIFT = 0.1
ACTIVITY_DRIFT = 2.0
"""Ratio of median speeds. Between parts of a clean recording of two minutes it is up to 1.7 either way."""
GAP_TOLERANCE = 0.1
"""Of the usual time between frames."""


@dataclass(frozen=True)
class Finding:
    """Something that makes labels or forecasts of a recording worse than they need be."""

    kind: str
    text: str
    remedy: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What is looked at: measurements of one recording, and the rule of the labels."""

    speed: NDArray[np.float64]
    fps: float
    horizon: int
    low_fraction: float
    range_threshold: float
    suggested: SuggestedThreshold | None
    means: Sequence[NDArray[np.float64]] = ()
    """Mean grey level of the frames of pieces of the recording, in order; none where it has no frames."""
    times_s: NDArray[np.float64] | None = None
    normalised: bool = False
    """Whether its frames were brought to one mean grey level; what is left of a flicker is then in their rounding."""


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """All that is wrong, what spoils the labels most first."""
    artefacts = [finding for look in (_spikes, _flicker, _repeats) for finding in look(evidence)]
    # What these do to the speed may look like noise: whether it is, shows when they are gone.
    looks = (*(() if artefacts else (_stillness,)), _times, _brightness, _activity, _length)
    return (*artefacts, *(finding for look in looks for finding in look(evidence)))


def _spikes(evidence: Evidence) -> Iterator[Finding]:
    grid = find_spikes(evidence.speed)
    if grid is None:
        return
    rule = (evidence.horizon, evidence.low_fraction, evidence.range_threshold)
    label = burst_labels(evidence.speed, *rule)
    defined = label != UNDEFINED
    repaired = burst_labels(repair_spikes(evidence.speed, grid), *rule)
    changed = float((label != repaired)[defined].mean()) if defined.any() else 0.0
    frames = f"{grid.period:.0f}" if grid.period == round(grid.period) else f"{grid.period:.2f}"
    yield Finding(
        "spikes",
        f"key-frame spikes: every {frames} frames ({_seconds(grid.period / evidence.fps)}) the speed jumps to "
        f"{grid.height:.1f} times its neighbours; {changed:.1%} of the labels come from it",
        "ingest it again with --repair-spikes",
        {"period": grid.period, "height": grid.height, "share": grid.share, "labels_changed": changed},
    )


def _flicker(evidence: Evidence) -> Iterator[Finding]:
    flicker = None if evidence.normalised else find_flicker(evidence.means, evidence.speed)
    if flicker is None:
        return
    hertz = None if flicker.period is None else evidence.fps / flicker.period
    how = "without a period" if hertz is None else f"with a period of {flicker.period:.1f} frames ({hertz:.1f} Hz)"
    yield Finding(
        "flicker",
        f"flicker: brightness changes by {flicker.change:.1%} from frame to frame, {how}; that alone is "
        f"{flicker.added:.0%} of the median speed",
        "ingest it again with --normalise-flicker",
        {"period": flicker.period, "hertz": hertz, "change": flicker.change, "added": flicker.added},
    )


def _stillness(evidence: Evidence) -> Iterator[Finding]:
    suggested = evidence.suggested
    if suggested is None or not suggested.in_noise:
        return
    yield Finding(
        "stillness",
        f"nearly still: in a third of its horizons the speed varies by less than {suggested.value:.1e}, and noise "
        f"alone gives {suggested.noise_range:.1e}; labels by such a threshold would be noise",
        f"range_threshold: auto is refused; state one well above {suggested.floor:.1e}, or leave the recording out",
        {"range": suggested.value, "noise_range": suggested.noise_range, "quiet_range": suggested.quiet_range},
    )


def _repeats(evidence: Evidence) -> Iterator[Finding]:
    repeats = find_repeats(evidence.speed)
    if repeats is None:
        return
    if repeats.cycle is not None:
        copies, length = repeats.cycle
        rate = evidence.fps * (length - copies) / length
        how, remedy = f"{copies} of every {length}", f"ingest it again with --resample {rate:.4g}"
    else:
        how = f"at irregular places, up to {repeats.longest} in a row"
        remedy = "the camera fell behind or nothing moved there; leave such a part out with --start and --stop"
    yield Finding(
        "repeats",
        f"repeated frames: {repeats.share:.1%} equal the one before, {how}",
        remedy,
        {"share": repeats.share, "longest": repeats.longest},
    )


def _times(evidence: Evidence) -> Iterator[Finding]:
    if evidence.times_s is None or len(evidence.times_s) < 2:
        return
    gaps_s = np.diff(evidence.times_s)
    usual_s = float(np.median(gaps_s))
    uneven = float((np.abs(gaps_s - usual_s) > GAP_TOLERANCE * usual_s).mean())
    yield Finding(
        "times",
        f"irregular times: {uneven:.1%} of the frames come more than {GAP_TOLERANCE:.0%} sooner or later than "
        f"{1000 * usual_s:.1f} ms after the one before, one {_seconds(float(gaps_s.max()))} after it",
        f"ingest it again with --resample {1 / usual_s:.4g}" if usual_s else "ingest it again with --resample FPS",
        {"uneven": uneven, "usual_s": usual_s, "longest_s": float(gaps_s.max())},
    )


def _brightness(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.means:
        return
    early, late = _train_and_later(np.concatenate(evidence.means))
    if not len(late) or not early.mean():
        return
    ratio = float(late.mean() / early.mean())
    if abs(ratio - 1) > BRIGHTNESS_DRIFT:
        yield Finding(
            "brightness",
            f"brightness drifts: after the first {TRAIN_SHARE:.0%} the picture is {abs(ratio - 1):.0%} "
            f"{'brighter' if ratio > 1 else 'darker'} on average",
            "ingest it again with --normalise-flicker",
            {"ratio": ratio},
        )


def _activity(evidence: Evidence) -> Iterator[Finding]:
    early, late = _train_and_later(evidence.speed)
    if not len(late) or not np.median(early):
        return
    ratio = float(np.median(late) / np.median(early))
    if not 1 / ACTIVITY_DRIFT < ratio < ACTIVITY_DRIFT:
        yield Finding(
            "activity",
            f"activity drifts: the median speed after the first {TRAIN_SHARE:.0%} is {ratio:.2g} times that before; "
            "what is learnt there may not hold later",
            "take whole recordings for the splits (data.split), or cut with --start and --stop",
            {"ratio": ratio},
        )


def _length(evidence: Evidence) -> Iterator[Finding]:
    needed = LOOK_BACK + evidence.horizon + 1
    smallest = int(SMALLEST_SHARE * (len(evidence.speed) + 1))
    if smallest < needed:
        yield Finding(
            "length",
            f"too short: a {SMALLEST_SHARE:.0%} split has {smallest} frames, and look-back {LOOK_BACK} + horizon "
            f"{evidence.horizon} + 1 = {needed} are needed",
            "record longer, or split by whole recordings (data.split)",
            {"frames": smallest, "needed": needed},
        )


def _train_and_later(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    border = round(TRAIN_SHARE * len(values))
    return values[:border], values[border:]


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
