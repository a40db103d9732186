"""What draws the trials of a sweep: at random, from a grid, or by the results so far. No Ray, no torch."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from fishray.config.sweep import Sweep
from fishray.errors import SettingError
from fishray.tuning.searchers.base import Searcher
from fishray.tuning.searchers.grid_search import GridSearch
from fishray.tuning.searchers.random_search import RandomSearch
from fishray.tuning.searchers.tpe import TpeSearch
from fishray.tuning.searchers.warm_start import check_warm_start

__all__ = ["Searcher", "check_searcher", "make_searcher"]

SEARCHERS: dict[str, type[Searcher]] = {"random": RandomSearch, "grid": GridSearch, "tpe": TpeSearch}


def make_searcher(sweep: Sweep) -> Searcher:
    """Make the searcher that a sweep names."""
    return SEARCHERS[sweep.search.searcher](sweep)


def check_searcher(sweep: Sweep, find: Callable[[str], Any] = find_spec) -> None:
    """Refuse a sweep whose trials could not be drawn, before anything starts.

    Raises
    ------
    SettingError
        Where Optuna is not installed, or a setting of the earlier run does not go with this sweep's data.
    RunError
        Where there is no earlier run to start from, or none with a result of a family of this sweep.
    """
    if sweep.search.searcher == "tpe" and find("optuna") is None:
        raise SettingError('search.searcher: tpe needs Optuna; install it: pip install "fishray[optuna]"')
    check_warm_start(sweep)
