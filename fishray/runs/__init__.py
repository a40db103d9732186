"""The run directory: resolved sweep, journal, attempts, best weights, predictions. The journal is its truth."""

from fishray.runs.directory import Predictions, Run
from fishray.runs.journal import Journal
from fishray.runs.lease import Lease, leased
from fishray.runs.state import RunState, TrialState

__all__ = ["Journal", "Lease", "Predictions", "Run", "RunState", "TrialState", "leased"]
