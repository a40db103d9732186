"""Settings of an ingest: how a source becomes a recording."""

from typing import Annotated

from pydantic import PositiveFloat, PositiveInt, Strict

from fishray.config.base import Settings


class IngestSettings(Settings):
    """How a source becomes a recording; equal settings on an equal source give an equal recording.

    Attributes
    ----------
    size
        Height and width of a stored frame [pixels]. None: the shorter side becomes 120, the aspect is kept, both are
        rounded to multiples of 4, and nothing is enlarged. The speed is measured before and does not change with it.
    fps
        Frame rate [frames per second] in place of what the source says.
    drop_placeholder
        Whether to drop the 0 that a published series carries at its end for want of a next frame.
    """

    size: Annotated[tuple[PositiveInt, PositiveInt], Strict(False)] | None = None
    fps: PositiveFloat | None = None
    drop_placeholder: bool = False
