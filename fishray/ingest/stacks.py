"""Which of a file's arrays is its stack of frames."""

from collections.abc import Mapping
from pathlib import Path

from fishray.errors import RecordingError
from fishray.ingest.grey import CHANNELS


def chosen_stack(shapes: Mapping[str, tuple[int, ...]], path: Path, inside: str | None) -> str:
    """Name of the array that holds the frames.

    Parameters
    ----------
    shapes
        Shapes of the arrays in the file, by name.
    path
        The file.
    inside
        The name that a person gave. None: the only array of three or four axes.

    Raises
    ------
    RecordingError
        Where there is none, or more than one to choose from; lists them.
    """
    everything = _listed(shapes) or "nothing"
    if inside is not None:
        if inside in shapes:
            return inside
        raise RecordingError(f"{path} holds no {inside}, but {everything}; choose one of those")
    stacks = {name: shape for name, shape in shapes.items() if len(shape) in (3, 4)}
    if not stacks:
        raise RecordingError(f"{path} holds no array of frames with three or four axes, but {everything}")
    if len(stacks) > 1:
        raise RecordingError(
            f"{path} holds {len(stacks)} arrays that may be frames: {_listed(stacks)}; choose one, such as "
            f"{path}:{next(iter(stacks))}"
        )
    return next(iter(stacks))


def refuse_other_shapes(shape: tuple[int, ...], where: object) -> None:
    """Refuse an array that is no stack of frames.

    Raises
    ------
    RecordingError
        Says which shapes are.
    """
    # Of three axes the last is the width; a colour image alone has three, too.
    if (len(shape) == 3 and shape[2] > max(CHANNELS)) or (len(shape) == 4 and shape[3] in CHANNELS):
        return
    raise RecordingError(
        f"{where} has shape {shape}; a stack of frames has (frames, height, width), or (frames, height, width, 3) in "
        "colour: order its axes so (numpy.moveaxis) and save it anew"
    )


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
