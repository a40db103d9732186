import textwrap

import pytest
from pydantic import ValidationError

from fishray.config.ingest import IngestFile, IngestSettings
from fishray.config.ingest_file import load_ingest_file
from fishray.errors import SweepFileError


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "ingest.yaml"
        path.write_text(textwrap.dedent(text))
        return load_ingest_file(path)

    return load


def faults_of(load, text):
    with pytest.raises(SweepFileError) as caught:
        load(text)
    first, *rows = str(caught.value).splitlines()
    assert first.endswith(f"ingest.yaml: {len(rows)} fault{'s' if len(rows) > 1 else ''}")
    return [" ".join(row.split()) for row in rows]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (1200, 1200),
        ("1200", 1200),
        (0, 0),
        ("40s", "40s"),
        ("40 s", "40s"),
        ("1:30", "90s"),
        ("1:02:30.5", "3750.5s"),
        ("0:00", "0s"),
    ],
)
def test_a_moment_is_a_frame_or_a_time(written, kept):
    assert IngestSettings(start=written).start == kept


@pytest.mark.parametrize("written", [-1, 1.5, True, "soon", "1:2:3:4", "-2s", ""])
def test_anything_else_is_no_moment(written):
    with pytest.raises(ValidationError, match=r"must be a frame \(1200\) or a time \(40s, 1:30, 1:02:30\)"):
        IngestSettings(stop=written)


def test_a_file_has_the_settings_of_all_and_of_each(load):
    file = load("""
        store: data/mine.zarr
        region: [40, 0, 1200, 960]
        invert: no
        start: 1:30
        recordings:
          - source: monday.avi
          - {source: day 2/film.mp4, name: tuesday, start: 100, contrast: [0.5, 99.5]}
        """)
    assert (str(file.store), file.region, file.invert, file.start) == (
        "data/mine.zarr",
        (40, 0, 1200, 960),
        "no",
        "90s",
    )
    assert [entry.name for entry in file.recordings] == [None, "tuesday"]
    assert (file.recordings[1].start, file.recordings[1].contrast) == (100, (0.5, 99.5))


def test_every_fault_is_told_at_once_with_its_line_and_what_is_allowed(load):
    text = """\
        backround: difference
        region: [0, 0, 640]
        start: soon
        invert: perhaps
        contrast: [99, 1]
        estimate_from: 1.5
        recordings:
          - {source: a.mp4, stat: 3}
          - {name: b}
        """
    assert faults_of(load, text) == [
        "line 1 backround unknown setting; did you mean background?",
        "line 2 region must be left edge, top edge, width and height in pixels, such as [0, 0, 640, 480]",
        "line 3 start 'soon': must be a frame (1200) or a time (40s, 1:30, 1:02:30)",
        "line 4 invert 'perhaps' is not allowed; one of no, yes, auto",
        "line 5 contrast must be two percentiles, the lower one first, such as [0.5, 99.5]",
        "line 6 estimate_from 1.5: must be less than or equal to 1",
        "line 8 recordings.0.stat unknown setting; did you mean start?",
        "line 9 recordings.1.source is missing",
    ]


def test_a_list_without_recordings_is_a_fault(load):
    assert faults_of(load, "recordings: []") == ["line 1 recordings is empty; give at least one, or leave it out"]


def test_a_missing_file_says_where_to_find_an_example(tmp_path):
    with pytest.raises(SweepFileError, match=r"no settings file at .*; an example is in fishray ingest --help"):
        load_ingest_file(tmp_path / "ingest.yaml")


def test_whatever_help_shows_as_a_file_can_be_loaded(load):
    from fishray.cli.ingesting import ingest

    example = textwrap.dedent(ingest.__doc__.split("\b\n")[-1])
    assert isinstance(load(example), IngestFile)
