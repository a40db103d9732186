"""Experiment trackers that a sweep is told to; each is switched on by its name in the sweep file."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from fishray.config.base import Settings

Name = Annotated[str, Field(min_length=1)]


class TensorboardSettings(Settings):
    """Event files below the run: runs/NAME/tensorboard, a directory for each trial; there is nothing to set."""


class MlflowSettings(Settings):
    """A run for the sweep, and one below it for each trial."""

    uri: Name | None = None
    """Tracking server or database; a database below the run (runs/NAME/mlflow) when left out. Credentials belong into
    MLflow's own variables (MLFLOW_TRACKING_USERNAME), not here: this file is kept with the run."""
    experiment: Name = "fishray"


class WandbSettings(Settings):
    """A run for each trial, in a group with the name of the sweep."""

    project: Name = "fishray"
    entity: Name | None = None
    """User or team; the one that is logged in when left out."""
    mode: Literal["offline", "online"] = "offline"
    """offline: nothing leaves the machine before a person types wandb sync runs/NAME/wandb/offline-run-*."""


def _not_empty(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("fishray", "is empty; write {} to switch it on as it is")
    return value


class TrackerSettings(Settings):
    """Which trackers are told, and how; none when left out."""

    tensorboard: Annotated[TensorboardSettings | None, BeforeValidator(_not_empty)] = None
    mlflow: Annotated[MlflowSettings | None, BeforeValidator(_not_empty)] = None
    wandb: Annotated[WandbSettings | None, BeforeValidator(_not_empty)] = None

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of those that are switched on."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)
