"""Speed ỹ and labels against the loops over frames that the original project had."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from measuring import Goal, Plan, Row, measure
from numpy.typing import NDArray
from peers import burst_labels_loop, frame_speed_loop
from tank_frames import HEIGHT, SMALL, WIDTH, make_footage

from fishray.signals.speed import SpeedMeter
from fishray.signals.targets import UNDEFINED, burst_labels
from fishray.store import CHUNK_FRAMES, Recording

HORIZON, LOW_FRACTION, THRESHOLD = 45, 0.1, 0.001
"""The published rule."""
LABELLED_FRAMES = 45_000
FEW = 200
"""Frames that the loop over images is measured on."""
EQUAL = "equal bit for bit"


def labels(plan: Plan) -> list[Row]:
    """Labels of 45,000 frames."""
    speed = np.random.default_rng(0).gamma(2, 5e-4, LABELLED_FRAMES - 1)
    ours = burst_labels(speed, HORIZON, LOW_FRACTION, THRESHOLD)
    theirs = burst_labels_loop(speed, HORIZON, LOW_FRACTION, THRESHOLD)
    assert 0 < np.mean(theirs) < 1
    assert np.array_equal(ours[: len(theirs)], theirs)
    assert (ours[len(theirs) :] == UNDEFINED).all()

    def label() -> int:
        return len(burst_labels(speed, HORIZON, LOW_FRACTION, THRESHOLD))

    def label_in_a_loop() -> int:
        return len(burst_labels_loop(speed, HORIZON, LOW_FRACTION, THRESHOLD)) + HORIZON + 1

    found = measure({"ours": label, "loop": label_in_a_loop}, plan.rounds)
    return [
        Row("labels of 45,000 frames", "frames/s", found["ours"], Goal(">=", 300), found["loop"], "Python loop",
            agreement=EQUAL)
    ]  # fmt: skip


def speed(plan: Plan) -> list[Row]:
    """Speed of the frames that networks see, out of a store; and of frames as large as the images themselves."""
    small = _speed(plan, SMALL, "speed of a store's frames", Goal(">=", 20))
    return [small, _speed(plan, (HEIGHT, WIDTH), "the same, stored as large as the images", None)]


def _speed(plan: Plan, size: tuple[int, int], what: str, goal: Goal | None) -> Row:
    with tempfile.TemporaryDirectory(dir=plan.folder) as folder:
        footage = make_footage(replace(plan, folder=Path(folder)), size)
        found = measure(
            {
                "ours": lambda: len(_stored_speed(footage.recording)),
                "loop": lambda: len(frame_speed_loop(footage.images, FEW, size)),
            },
            plan.rounds,
        )
        assert np.array_equal(_stored_speed(footage.recording)[: FEW - 1], frame_speed_loop(footage.images, FEW, size))
    return Row(what, "frames/s", found["ours"], goal, found["loop"], "loop over images", agreement=EQUAL)


def _stored_speed(recording: Recording) -> NDArray[np.float64]:
    """A chunk at a time: a third faster than all at once, most of which is the system's clearing of fresh memory."""
    meter = SpeedMeter()
    for start in range(0, recording.frame_count, CHUNK_FRAMES):
        for frame_hw in recording.read_frames(start, min(start + CHUNK_FRAMES, recording.frame_count)):
            meter.see(frame_hw)
    return meter.speed
