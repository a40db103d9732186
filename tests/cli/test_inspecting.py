import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from fishray.cli import app
from fishray.cli.inspecting import print_inspection
from fishray.config.sweep import LabelSettings
from fishray.errors import SettingError, StoreError
from fishray.ingest.writing import ingest
from fishray.signals.quality import inspect_store
from fishray.store import new_recording, open_store

FRAMES = 1000


def lively(seed):
    """Speeds that go on for some twenty frames, as those of animals."""
    return np.convolve(np.random.default_rng(seed).uniform(0, 0.01, FRAMES + 18), np.ones(20) / 20, "valid")


@pytest.fixture
def store(tmp_path):
    """A clean recording, and one with spikes."""
    path = tmp_path / "tank.zarr"
    spiked = lively(1)
    spiked[11::12] += 0.02
    for name, speed in (("clean", lively(0)), ("spiked", spiked)):
        origin = {"fps": 25.0, "source": f"{name}.npy", "source_sha256": name, "settings": {}, "fishray": "0"}
        with new_recording(path, name, origin) as writer:
            writer.finish(speed)
    return path


@pytest.fixture
def inspect(store):
    """Run the command."""

    def run(*words):
        result = CliRunner().invoke(app, ["inspect", str(store), *map(str, words)], env={"COLUMNS": "160"})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return run


def shown(store, width, terminal=True, **rule):
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=terminal, color_system=None)
    print_inspection(inspect_store(open_store(store), LabelSettings(**rule)), store, [], console)
    return output.getvalue().splitlines()


def test_a_warning_stands_under_its_recording_with_what_helps(inspect):
    lines = inspect().splitlines()
    place = lines.index(" spiked")
    assert lines[place + 1].startswith("  warning  key-frame spikes: every 12 frames (480 ms) the speed jumps to ")
    assert lines[place + 1].endswith("→ ingest it again with --repair-spikes")
    assert " clean" not in lines


def test_recordings_without_a_warning_are_told_so(inspect):
    assert " No warnings." in inspect("--recording", "clean").splitlines()


def test_the_rule_is_that_of_a_sweep(inspect):
    said = inspect("--rule", "horizon_s=2", "--rule", "range_threshold=0.004")
    assert " labels by horizon 2 s, low_fraction 0.1, range_threshold 0.004" in said.splitlines()
    assert said.splitlines()[-1].endswith("--set labels.horizon_s=2 --set labels.range_threshold=0.004")


def test_auto_is_shown_with_its_reason(inspect, store):
    said = inspect("--rule", "range_threshold=auto", "--recording", "clean")
    value = inspect_store(open_store(store), LabelSettings(), ["clean"]).suggested.value
    assert f"range_threshold {value:.2g} (auto)" in said
    assert f"auto would take {value:.1e}: 69% of the horizons in the first 60% reach it, as in the published" in said


def test_nothing_is_suggested_where_it_would_measure_noise(tmp_path):
    path = tmp_path / "still.zarr"
    origin = {"fps": 25.0, "source": "still.npy", "source_sha256": "", "settings": {}, "fishray": "0"}
    with new_recording(path, "still", origin) as writer:
        writer.finish(np.random.default_rng(0).normal(0.01, 0.001, FRAMES))
    lines = shown(path, 200)
    assert " No range_threshold is suggested: it would only measure noise; see the warnings." in lines
    assert [line for line in lines if line.startswith("  warning  nearly still: ")]


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_of_a_terminal_is_wider_than_it(store, width):
    lines = [line for line in shown(store, width) if str(store) not in line]
    assert [line for line in lines if len(line) > width] == []
    assert [line.split()[0] for line in lines if line.startswith(" recording")] == ["recording"] * 2


def test_a_warning_is_one_line_of_a_log(store):
    assert len([line for line in shown(store, 80, terminal=False) if "--repair-spikes" in line]) == 1


def test_json_says_the_same_for_machines(inspect, store):
    said = json.loads(inspect("--json", "--rule", "horizon=30"))
    facts = inspect_store(open_store(store), LabelSettings(horizon=30)).recordings
    assert [each["name"] for each in said["recordings"]] == ["clean", "spiked"]
    assert said["labels"]["horizon"] == 30
    assert said["recordings"][0]["positives"] == facts[0].positives
    (finding,) = said["recordings"][1]["findings"]
    assert (finding["kind"], finding["numbers"]["period"]) == ("spikes", 12)


def test_a_picture_is_drawn_of_each_recording(inspect, tmp_path):
    inspect("--png", tmp_path / "sheet.png")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["sheet-clean.png", "sheet-spiked.png"]
    inspect("--png", tmp_path / "new" / "one.png", "--recording", "clean")
    assert (tmp_path / "new" / "one.png").stat().st_size > 10_000
    with pytest.raises(SettingError, match=r"--png sheet.jpg: the picture is a PNG; name it sheet.png"):
        inspect("--png", "sheet.jpg")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("horizn=3", "--rule horizn: unknown setting; did you mean horizon?"),
        ("frames=3", "--rule frames: unknown setting; allowed are horizon, horizon_s, low_fraction, range_threshold"),
        ("horizon=0", "--rule horizon: must be greater than 0"),
        ("range_threshold=fast", "--rule range_threshold: 'fast': must be auto or a speed above 0"),
        ("horizon", "--rule horizon: write it as key=value, for example --rule horizon_s=1.5"),
    ],
)
def test_a_wrong_rule_is_refused(inspect, rule, message):
    with pytest.raises(SettingError) as refused:
        inspect("--rule", rule)
    assert str(refused.value) == message


def test_two_horizons_are_refused(inspect):
    with pytest.raises(SettingError, match="--rule: give horizon"):
        inspect("--rule", "horizon=3", "--rule", "horizon_s=1")


def test_a_recording_that_is_not_there_is_refused(inspect):
    with pytest.raises(StoreError, match=r"no recording clan .* did you mean clean\?"):
        inspect("--recording", "clan")


def test_the_source_is_found_beside_the_store_or_where_one_says(tmp_path, monkeypatch):
    folder = tmp_path / "film"
    folder.mkdir()
    for number in range(40):
        Image.fromarray(np.full((24, 32), number, np.uint8)).save(folder / f"{number}.png")
    store = tmp_path / "tank.zarr"
    ingest(folder, store)
    monkeypatch.chdir(tmp_path)

    def height(*words):
        run = CliRunner().invoke(app, ["inspect", str(store), "--png", "sheet.png", *map(str, words)])
        assert run.exit_code == 0, run.output
        with Image.open("sheet.png") as image:
            return image.size[1]

    beside = height()
    folder.rename(tmp_path / "moved")
    assert height() < beside  # without the row of its source
    assert height("--source", tmp_path / "moved") == beside
