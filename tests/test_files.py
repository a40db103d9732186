"""A file is whole or absent, whatever happens while it is written."""

import pytest

from fishray.errors import StorageError
from fishray.files import previous, written_aside


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


def write(path, text, **how):
    with written_aside(path, **how) as part:
        part.write_text(text)


def fail_in_mid_write(path, error=ZeroDivisionError, **how):
    with written_aside(path, **how) as part:
        part.write_text("half of")
        raise error


def test_what_is_written_is_there_afterwards_and_not_before(path):
    with written_aside(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, OSError])
def test_an_error_in_mid_write_leaves_the_earlier_file_and_no_part(path, error):
    path.write_text("earlier")
    with pytest.raises(StorageError if error is OSError else error):
        fail_in_mid_write(path, error)
    assert path.read_text() == "earlier"
    assert names(path.parent) == ["table.csv"]


def test_an_error_in_mid_write_leaves_nothing_where_nothing_was(path):
    with pytest.raises(ZeroDivisionError):
        fail_in_mid_write(path)
    assert names(path.parent) == []


def test_the_file_before_is_kept_if_asked_for(path):
    for text in ("first", "second", "third"):
        write(path, text, keep_previous=True)
    assert (path.read_text(), previous(path).read_text()) == ("third", "second")
    assert names(path.parent) == ["table.csv", "table.csv.previous"]


def test_the_file_before_is_gone_otherwise(path):
    write(path, "first")
    write(path, "second")
    assert names(path.parent) == ["table.csv"]


def test_an_error_leaves_both_the_file_and_the_one_before(path):
    write(path, "first", keep_previous=True)
    write(path, "second", keep_previous=True)
    with pytest.raises(ZeroDivisionError):
        fail_in_mid_write(path, keep_previous=True)
    assert (path.read_text(), previous(path).read_text()) == ("second", "first")
    assert names(path.parent) == ["table.csv", "table.csv.previous"]


def test_a_part_that_a_dead_process_left_is_in_nobodys_way(path):
    path.with_name("table.csv.part").write_text("half of something longer than what follows")
    write(path, "whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["table.csv"]


def test_storage_that_is_full_is_told_with_the_path(path):
    path.write_text("earlier")
    full = path.with_name("table.csv.part")
    full.symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"table\.csv cannot be written \(No space left on device\)"):
        write(path, "whole")
    assert path.read_text() == "earlier"
    assert names(path.parent) == ["table.csv"]


def test_a_folder_that_is_gone_is_told_with_the_path(tmp_path):
    with pytest.raises(StorageError, match=r"gone/table\.csv cannot be written \(No such file or directory\)"):
        write(tmp_path / "gone" / "table.csv", "whole")


def test_forgetting_to_write_is_an_error_and_costs_no_file(path):
    path.write_text("earlier")
    with pytest.raises(StorageError, match="No such file or directory"), written_aside(path):
        pass
    assert path.read_text() == "earlier"
