import pytest

from fishray.evaluation.bootstrap import Estimate
from fishray.report.verdict import judge

ABOVE, ACROSS, BELOW = Estimate(0.02, 0.01, 0.03), Estimate(0.01, -0.01, 0.03), Estimate(-0.02, -0.03, -0.01)


@pytest.mark.parametrize(
    ("persistence", "published", "outcome", "text"),
    [
        (ABOVE, ABOVE, "better", "foresees bursts better than persistence (interval above 0; 41 events)."),
        (ABOVE, ACROSS, "better", "foresees bursts better than persistence (interval above 0; 41 events)."),
        (
            ACROSS,
            ABOVE,
            "only published",
            "beats only the published algorithm; it cannot be told apart from persistence (41 events).",
        ),
        (
            BELOW,
            ABOVE,
            "only published",
            "beats only the published algorithm; it does worse than persistence (41 events).",
        ),
        (ACROSS, ACROSS, "undecided", "cannot be told apart from persistence (41 events)."),
        (BELOW, BELOW, "worse", "does worse than persistence (41 events)."),
    ],
)
def test_a_verdict_follows_from_the_intervals(persistence, published, outcome, text):
    verdict = judge("a", {"persistence": persistence, "published algorithm": published}, "41 events")
    assert (verdict.predictor, verdict.outcome, verdict.text) == ("a", outcome, text)


def test_an_interval_that_touches_zero_decides_nothing():
    assert judge("a", {"persistence": Estimate(0.01, 0.0, 0.02)}, "").outcome == "undecided"
    assert judge("a", {"persistence": Estimate(-0.01, -0.02, 0.0)}, "").outcome == "undecided"


def test_evidence_is_said_once():
    assert judge("a", {"persistence": ACROSS}, "").text == "cannot be told apart from persistence on this test split."
