"""The base of every settings class."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings; a misspelt key is an error, and no value is silently converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
