import pytest

from fishray.report.wording import (
    clock,
    cpu_time,
    footage,
    pack,
    rough_time,
    settings_text,
    shorten,
    signed,
    stop_reason,
)


def test_settings_read_as_people_say_them_the_most_telling_first():
    settings = {"augment": "flips", "learning_rate": 0.004, "filters": [8, 16], "weight_decay": 0.25, "pool": False}
    assert settings_text(settings) == "8+16 filters, lr 4.0e-3, flips, decay 0.25, no pool"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("learning_rate", 0.0123, "lr 1.2e-2"),
        ("hidden", 32, "hidden 32"),
        ("layers", 1, "1 layer"),
        ("cell", "gru", "gru"),
        ("class_weight", 0.05, "cw 0.05"),
        ("class_weight", 0.0, "cw 0"),
        ("weight_decay", 0.0012, "decay 1.2e-3"),
        ("augment", "none", "no augment"),
        ("fuse_speed", True, "fuse speed"),
        ("input_stride", 2, "input stride 2"),
    ],
)
def test_each_setting_is_written_with_the_digits_it_deserves(name, value, text):
    assert settings_text({name: value}) == text


def test_settings_that_do_not_fit_are_left_out_whole():
    settings = {"hidden": 32, "learning_rate": 0.012, "class_weight": 0.6}
    assert settings_text(settings, width=23) == "hidden 32, lr 1.2e-2, …"
    assert settings_text(settings, width=22) == "hidden 32, …"


def test_a_single_word_that_does_not_fit_is_cut():
    assert shorten(["abcdefgh"], 5) == "abcd…"


def test_a_loss_has_a_minus_sign_as_wide_as_the_plus():
    assert (signed(0.0244), signed(-0.0061)) == ("+0.024", "−0.006")


def test_times():
    assert clock(3 * 3600 + 62.9) == "03:01:02"
    assert footage(480) == "8:00 min"
    assert footage(2 * 3600 + 5 * 60) == "2:05:00 h"
    assert [rough_time(seconds) for seconds in (1, 42, 110, 3 * 3600 + 60, 50 * 3600)] == [
        "5 s", "40 s", "2 min", "3.0 h", "2 days",
    ]  # fmt: skip


def test_cpu_time_has_the_unit_of_what_was_spent():
    assert cpu_time(1.24, 2.7) == ["1.2 CPU-hours", "2.7"]
    assert cpu_time(3 / 60, 1) == ["3.0 CPU-minutes", "60"]
    assert cpu_time(59 / 3600, 108 / 3600) == ["59 CPU-seconds", "108"]


def test_a_reason_says_its_status_once_and_in_one_line():
    assert stop_reason("failed", "ValueError: no\nmore") == "failed: ValueError: no"
    assert stop_reason("stopped", "stopped at rung 1") == "stopped at rung 1"
    assert stop_reason("finished", "") == "finished"


def test_packed_lines_break_between_parts_alone():
    assert pack(["one", "two", "three"], width=9) == ["one · two", "   three"]
