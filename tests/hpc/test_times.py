import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.times import parse_moment, parse_time

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.fixture
def zone(monkeypatch):
    """Let this process live in a time zone."""

    def live_in(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield live_in
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90 * MINUTE),
        ("05:30", 5 * MINUTE + 30),
        ("04:00:00", 4 * HOUR),
        ("4:5:6", 4 * HOUR + 5 * MINUTE + 6),
        ("2-6", 2 * DAY + 6 * HOUR),
        ("2-06:30", 2 * DAY + 6 * HOUR + 30 * MINUTE),
        ("1-12:00:01", DAY + 12 * HOUR + 1),
        ("100:00:00", 100 * HOUR),
        ("0", 0),
        ("UNLIMITED", float("inf")),
        ("infinite", float("inf")),
    ],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "-", "1-", "-4", "4h", "04:00:00:00", "1-2-3", "1:", ":30", "1.5", " 60", "60\n", "four"]
)
def test_what_sbatch_does_not_read_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="must be a time as Slurm writes it, like 04:00:00 or 1-12:00:00"):
        parse_time(text)


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_every_way_to_write_a_time_says_the_same(days, hours, minutes, seconds):
    total = days * DAY + hours * HOUR + minutes * MINUTE + seconds
    assert parse_time(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == total
    assert parse_time(f"{days * 24 + hours}:{minutes:02}:{seconds:02}") == total
    assert parse_time(f"{total // 60}:{seconds:02}") == total
    assert parse_time(f"{total // 60}") == total - seconds


@pytest.mark.parametrize(("zone_name", "hours_west"), [("UTC", 0), ("UTC+5", 5), ("UTC-9", -9)])
def test_a_moment_is_read_in_the_time_zone_in_which_squeue_writes_it(zone, zone_name, hours_west):
    zone(zone_name)
    assert parse_moment("1970-01-02T00:00:30") == DAY + 30 + hours_west * HOUR


def test_a_moment_knows_of_summer_time(zone):
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    winter, summer = parse_moment("2026-01-15T12:00:00"), parse_moment("2026-07-15T12:00:00")
    assert summer - winter == 181 * DAY - HOUR  # 31 + 28 + 31 + 30 + 31 + 30 days, one of 23 hours


def test_a_moment_is_the_one_that_this_machine_would_write():
    now_s = int(time.time())
    assert parse_moment(time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now_s))) == now_s


@pytest.mark.parametrize("text", ["N/A", "Unknown", "NONE", "None", "", "(null)", "Tomorr 00:18", "23:33:52"])
def test_where_slurm_names_no_moment_there_is_no_end(text):
    assert parse_moment(text) == float("inf")
