import numpy as np
import pytest

from fishray.errors import RecordingError
from fishray.ingest.series import SpeedSeries


@pytest.fixture
def write(tmp_path):
    def write(values, name="speed.npy"):
        path = tmp_path / name
        if path.suffix == ".npy":
            np.save(path, values)
        else:
            path.write_text(values, encoding="utf-8")
        return SpeedSeries(path)

    return write


def test_speeds_are_read_bit_for_bit(write):
    values = np.random.default_rng(0).random(9)
    assert write(values).speed().tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "text", ["0.5\n0.25\n", "speed\n0.5\n0.25", "\ufeff0.5\r\n0.25\r\n\r\n", '"speed"\n"0.5",\n0.25,\n']
)
def test_csv_has_one_speed_on_each_line_and_perhaps_a_heading(write, text):
    assert write(text, "speed.csv").speed().tolist() == [0.5, 0.25]


def test_the_placeholder_is_dropped_on_request(write):
    series = write(np.array([0.5, 0.25, 0.0]))
    assert series.speed().tolist() == [0.5, 0.25, 0]
    assert series.speed(drop_placeholder=True).tolist() == [0.5, 0.25]


def test_a_last_value_that_is_no_placeholder_is_not_dropped(write):
    with pytest.raises(RecordingError, match=r"ends with 0\.25, not with the placeholder 0"):
        write(np.array([0.5, 0.25])).speed(drop_placeholder=True)


@pytest.mark.parametrize(("bad", "shown"), [(np.nan, "nan"), (-0.5, "-0.5"), (np.inf, "inf")])
def test_the_first_bad_value_is_told_with_its_position(write, bad, shown):
    message = rf"has {shown} at position 2 \(counted from 0; 2 such in all\)"
    with pytest.raises(RecordingError, match=message):
        write(np.array([0.5, 0.25, bad, 0.5, bad])).speed()
    with pytest.raises(RecordingError, match=message):
        write(f"0.5\n0.25\n{bad}\n0.5\n{bad}\n", "speed.csv").speed()


@pytest.mark.parametrize("values", [np.zeros((3, 2)), np.float64(1), np.array(["a"]), np.array([1j]), np.array([True])])
def test_an_array_that_is_no_series_is_refused(write, values):
    with pytest.raises(RecordingError, match="has one axis of numbers"):
        write(values).speed()


@pytest.mark.parametrize("drop", [False, True])
def test_an_empty_series_is_refused(write, drop):
    with pytest.raises(RecordingError, match="holds no speeds"):
        write(np.zeros(int(drop))).speed(drop)
    with pytest.raises(RecordingError, match="holds no speeds"):
        write("speed\n" + "0\n" * drop, "speed.csv").speed(drop)


@pytest.mark.parametrize("text", ["0.5\nfast\n", "0.5,0.25\n", "speed,label\n0.5,1\n", "0.5\n0.25;1\n"])
def test_csv_lines_of_anything_else_are_told_by_number(write, text):
    with pytest.raises(RecordingError, match=r"speed\.csv, line [12]: .* is not one number"):
        write(text, "speed.csv").speed()


def test_files_that_are_damaged_are_refused(tmp_path):
    for name in ("a.npy", "a.csv"):
        (tmp_path / name).write_bytes(b"\x93NUMPY\xff\xfe")
        with pytest.raises(RecordingError, match="cannot be read as"):
            SpeedSeries(tmp_path / name).speed()
