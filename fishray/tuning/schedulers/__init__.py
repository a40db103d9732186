"""Which trials of a family go on, and with what: functions of the order of results, so that a journal rebuilds them.

Nothing here knows Ray, torch or the time, and what is random is drawn from (seed, family, trial, epoch).
"""

from fishray.config.sweep import Sweep
from fishray.tuning.schedulers.asha import Asha
from fishray.tuning.schedulers.base import Decision, NoStopping, Scheduler
from fishray.tuning.schedulers.median import MedianStopping
from fishray.tuning.schedulers.pbt import PopulationBasedTraining

__all__ = ["Asha", "Decision", "MedianStopping", "NoStopping", "PopulationBasedTraining", "Scheduler", "make_scheduler"]


def make_scheduler(sweep: Sweep, family: str) -> Scheduler:
    """The scheduler of one family; trials of different families never compete."""
    search = sweep.search
    match search.scheduler:
        case "asha":
            return Asha(family, search)
        case "median":
            return MedianStopping(family, search)
        case "pbt":
            return PopulationBasedTraining(family, search, sweep.families[family], sweep.seed)
        case "none":
            return NoStopping(family, search)
