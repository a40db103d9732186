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

__all__ = ["Searcher", "check_searcher", "check_warm_start", "make_searcher"]

SEARCHERS: dict[str, type[Searcher]] = {"random": RandomSearch, "grid": GridSearch, "tpe": TpeSearch}


def make_searcher(sweep: Sweep) -> Searcher:
    """Make the searcher that a sweep names."""
    return SEARCHERS[sweep.search.searcher](sweep)


def check_searcher(sweep: Sweep, find: Callable[[str], Any] = find_spec) -> None:
    """Refuse a searcher whose library is not there, before anything starts.

    Raises
    ------
    SettingError
        With the command that installs it.
    """
    if sweep.search.searcher == "tpe" and find("optuna") is None:
        raise SettingError('search.searcher: tpe needs Optuna; install it: pip install "fishray[optuna]"')
