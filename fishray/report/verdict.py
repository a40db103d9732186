"""What the test split says of a predictor, in plain words.

Persistence is the yardstick: whoever beats the published algorithm but not the last known speed has learnt nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fishray.evaluation.bootstrap import Estimate
from fishray.report.wording import PERSISTENCE

PUBLISHED = "published algorithm"

Outcome = Literal["better", "only published", "undecided", "worse"]


@dataclass(frozen=True)
class Verdict:
    """How a predictor stands to the baselines on test."""

    predictor: str
    outcome: Outcome
    text: str
    """Plain words that follow the predictor's name."""


def judge(predictor: str, over: Mapping[str, Estimate], evidence: str) -> Verdict:
    """Compare a predictor with persistence, and with the published algorithm where it does not beat that.

    Parameters
    ----------
    predictor
        Its name.
    over
        Test AUC minus that of each baseline; persistence's must be there, with its interval.
    evidence
        What the intervals rest on: 41 events in 96 s of test; empty where it has been said already.
    """
    persistence = _sign(over[PERSISTENCE])
    if persistence > 0:
        grounds = "; ".join(filter(None, ("interval above 0", evidence)))
        return Verdict(predictor, "better", f"foresees bursts better than {PERSISTENCE} ({grounds}).")
    grounds = f"({evidence})" if evidence else "on this test split"
    beside = f"cannot be told apart from {PERSISTENCE}" if persistence == 0 else f"does worse than {PERSISTENCE}"
    if PUBLISHED in over and _sign(over[PUBLISHED]) > 0:
        return Verdict(predictor, "only published", f"beats only the {PUBLISHED}; it {beside} {grounds}.")
    return Verdict(predictor, "worse" if persistence < 0 else "undecided", f"{beside} {grounds}.")


def _sign(difference: Estimate) -> int:
    """1 where the whole interval is above 0, -1 where it is below, else 0."""
    if difference.low is None or difference.high is None:
        return 0
    return int(difference.low > 0) - int(difference.high < 0)
