from pathlib import Path

import pytest

from fishray.config.ingest import IngestFile, IngestSettings
from fishray.errors import RecordingError, SettingError
from fishray.ingest.several import ingest_each, plan

FILE = IngestFile.model_validate_json(
    """{
    "background": "difference", "fps": 25,
    "recordings": [
        {"source": "monday.avi"},
        {"source": "film.mp4", "name": "morning", "stop": 900},
        {"source": "film.mp4", "name": "evening", "start": 9000, "background": "none"}
    ]}"""
)
MONDAY, FILM = Path("monday.avi"), Path("film.mp4")


def test_a_file_s_recordings_have_its_settings_and_their_own():
    assert [(each.source, each.name, each.settings) for each in plan(FILE)] == [
        (MONDAY, "monday", IngestSettings(fps=25, background="difference")),
        (FILM, "morning", IngestSettings(fps=25, background="difference", stop=900)),
        (FILM, "evening", IngestSettings(fps=25, start=9000)),
    ]


def test_sources_are_picked_from_the_file_or_have_its_common_settings():
    planned = plan(FILE, [FILM, Path("new.mp4")])
    assert [each.name for each in planned] == ["morning", "evening", "new"]
    assert planned[-1].settings == IngestSettings(fps=25, background="difference")


def test_what_is_given_besides_replaces_everything():
    planned = plan(FILE, overrides={"background": "brighter", "start": "2s"})
    assert {(each.settings.background, each.settings.start) for each in planned} == {("brighter", "2s")}


def test_one_recording_can_be_named():
    assert plan(IngestFile(), [FILM], name="first")[0].name == "first"
    with pytest.raises(SettingError, match="name first is for one recording, and there are 2"):
        plan(IngestFile(), [FILM, MONDAY], name="first")


def test_two_recordings_of_one_name_are_refused():
    with pytest.raises(SettingError, match=r"a/film.mp4 and b/film.mp4 would both be the recording film"):
        plan(IngestFile(), [Path("a/film.mp4"), Path("b/film.mp4")])


def test_nothing_to_ingest_is_refused():
    with pytest.raises(SettingError, match="nothing to ingest"):
        plan(IngestFile(fps=3))


def test_one_that_fails_does_not_stop_the_others():
    def ingest(planned):
        if planned.source == MONDAY:
            raise RecordingError("cut off")
        return planned.name

    outcomes = list(ingest_each(plan(FILE), ingest))
    assert [outcome.recording for outcome in outcomes] == [None, "morning", "evening"]
    assert [str(outcome.error) for outcome in outcomes] == ["cut off", "None", "None"]
