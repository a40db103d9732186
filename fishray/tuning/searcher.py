"""Which trial comes next: the plan, in its order. Settings never depend on results, so a plan can be extended."""

from typing import Any

from ray.tune.search import Searcher


class PlannedTrials(Searcher):  # type: ignore[misc]
    """Hands out the planned trials in their order."""

    def __init__(self, configs: list[dict[str, Any]]):
        super().__init__()
        self._remaining = list(reversed(configs))

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial."""
        return self._remaining.pop() if self._remaining else str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Settings do not depend on results."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal holds the plan."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal holds the plan."""
