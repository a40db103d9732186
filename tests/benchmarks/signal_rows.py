"""Speed ỹ and labels against the loops over frames that the original project had."""

import numpy as np
from measuring import Goal, Plan, Row, measure
from peers import burst_labels_loop, frame_speed_loop
from tank_frames import HEIGHT, WIDTH, make_footage

from fishray.signals.speed import frame_speed
from fishray.signals.targets import UNDEFINED, burst_labels

HORIZON, LOW_FRACTION, THRESHOLD = 45, 0.1, 0.001
"""The published rule."""
LABELLED_FRAMES = 45_000
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
    """Speed of what a store holds."""
    footage = make_footage(plan, (HEIGHT, WIDTH))
    count, few = footage.recording.frame_count, 300

    def measure_speed() -> int:
        return len(frame_speed(footage.recording.read_frames(0, count)))

    def measure_speed_in_a_loop() -> int:
        return len(frame_speed_loop(footage.images, few))

    assert np.array_equal(
        frame_speed(footage.recording.read_frames(0, count))[: few - 1], frame_speed_loop(footage.images, few)
    )
    found = measure({"ours": measure_speed, "loop": measure_speed_in_a_loop}, plan.rounds)
    return [
        Row("speed of the frames in a store", "frames/s", found["ours"], Goal(">=", 20), found["loop"], "Python loop",
            agreement=EQUAL)
    ]  # fmt: skip
