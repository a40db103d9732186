import pytest

from fishray.cli.progress import frame_progress


@pytest.fixture
def told(capsys):
    """Lines that a log file gets of frames told at times [s]."""

    def told(*calls):
        now_s = [0.0]
        with frame_progress(lambda: now_s[0]) as progress:
            for now_s[0], done, total in calls:
                progress("ingesting fish.mp4", done, total)
        return capsys.readouterr().err.splitlines()

    return told


def test_a_log_file_gets_a_line_every_five_seconds_with_rate_and_time_left(told):
    calls = [(second, 200 * second, 54_000) for second in range(1, 13)]
    assert told(*calls) == [
        "ingesting fish.mp4: 200 of 54,000 frames",
        "ingesting fish.mp4: 1,200 of 54,000 frames, 200 frames/s, ~4 min left",  # 52,800 frames at 200 each second
        "ingesting fish.mp4: 2,200 of 54,000 frames, 200 frames/s, ~4 min left",
    ]


def test_frames_that_were_there_before_do_not_count_as_fast(told):
    assert told((0, 6_960, 10_000), (10, 7_960, 10_000))[1] == (
        "ingesting fish.mp4: 7,960 of 10,000 frames, 100 frames/s, ~20 s left"
    )


def test_the_end_is_told_once(told):
    assert told((0, 120, 240), (1, 240, 240), (2, 240, 240)) == [
        "ingesting fish.mp4: 120 of 240 frames",
        "ingesting fish.mp4: 240 of 240 frames, 120 frames/s",
    ]


def test_without_a_known_end_there_is_no_time_left(told):
    assert told((0, 0, None), (5, 500, None)) == [
        "ingesting fish.mp4: 0 frames",
        "ingesting fish.mp4: 500 frames, 100 frames/s",
    ]
