import csv
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from calibration import REAL, calibration
from pydantic import ValidationError

from fishray.config.tank import TankSettings
from fishray.errors import SettingError
from fishray.ingest.video import Video
from fishray.signals.speed import SpeedMeter
from fishray.simulate import events_path, simulate
from fishray.simulate.arena import MARGIN
from fishray.simulate.behaviour import Tank
from fishray.simulate.rendering import Camera

MINUTE = TankSettings(minutes=1, height=120, width=160, seed=3)
EIGHT_MINUTES = TankSettings(minutes=8, seed=1)  # at 320x240, as the real series
SHORT = TankSettings(minutes=0.1, fish=3, height=96, width=128, seed=5)  # 180 frames


def decode(path: Path) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def read_events(video: Path) -> list[dict[str, str]]:
    with events_path(video).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def speed(frames_thw: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(frames_thw.astype(np.int16), axis=0)).mean((1, 2)) / 255


@pytest.fixture(scope="module")
def minute(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tank") / "minute.mp4"
    simulate(path, MINUTE)
    return path


@pytest.fixture(scope="module")
def minute_thw(minute) -> np.ndarray:
    return decode(minute)


def test_equal_settings_give_equal_recordings(tmp_path):
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    simulate(first, SHORT)
    simulate(second, SHORT)
    assert np.array_equal(decode(first), decode(second))
    assert events_path(first).read_text() == events_path(second).read_text()


def test_seeds_differ(tmp_path):
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    simulate(first, SHORT)
    simulate(second, SHORT.model_copy(update={"seed": 6}))
    assert not np.array_equal(decode(first), decode(second))


def test_a_minute_has_1800_frames_at_30_fps(minute, minute_thw):
    assert minute_thw.shape == (1800, 120, 160)
    with av.open(minute) as container:
        assert container.streams.video[0].average_rate == 30
        assert container.streams.video[0].codec_context.name == "h264"


def test_another_frame_rate_lasts_as_long(tmp_path):
    simulate(tmp_path / "slow.mp4", SHORT.model_copy(update={"fps": 10}))
    with av.open(tmp_path / "slow.mp4") as container:
        times_s = [frame.time for frame in container.decode(video=0)]
    assert times_s == pytest.approx(np.arange(60) / 10, abs=1e-3)


def test_fish_are_bright_on_black(minute_thw):
    assert 0.8 < minute_thw.mean() < 2
    assert np.median(minute_thw) == 0
    assert minute_thw.max() > 180


def test_events_are_in_order_and_inside_the_recording(minute):
    events = read_events(minute)
    assert len(events) >= 5
    last_end = -1
    for event in events:
        start, end = int(event["start_frame"]), int(event["end_frame"])
        assert last_end < start <= end < 1800
        if event["event"] == "bluff":
            assert event["burst_frame"] == ""
        elif event["burst_frame"]:
            assert start <= int(event["burst_frame"]) <= end
        assert event["aggressor"] != event["victim"]
        assert {int(event["aggressor"]), int(event["victim"])} < set(range(6))
        last_end = end


def test_a_chase_is_a_burst(minute, minute_thw):
    speed_t = speed(minute_thw)
    bursts = [int(event["burst_frame"]) for event in read_events(minute) if event["burst_frame"]]
    rises = [speed_t[burst : burst + 15].max() - speed_t[burst - 5 : burst].min() for burst in bursts if burst >= 5]
    assert np.median(rises) > 0.001  # the published threshold of a burst


def test_a_display_shows_in_space_and_not_in_the_speed():
    tank, camera = Tank(MINUTE), Camera(MINUTE)
    brightest, speeds = {True: [], False: []}, {True: [], False: []}
    before_hw = camera.draw(tank)
    for _ in range(1800):
        tank.step()
        frame_hw = camera.draw(tank)
        displays = tank.displaying is not None
        if displays or tank.chasing is None:
            brightest[displays].append(frame_hw.reshape(30, 4, 40, 4).mean((1, 3)).max())  # as seen at 30 by 40
            speeds[displays].append(speed(np.stack([before_hw, frame_hw]))[0])
        before_hw = frame_hw
    assert np.median(brightest[True]) > 1.2 * np.median(brightest[False])  # fins are half spread on average
    assert np.median(speeds[True]) < np.median(speeds[False])


def count_events(**settings: float) -> dict[str, int]:
    tank = Tank(TankSettings(**settings))
    for _ in range(3600):
        tank.step()
    events = tank.events_until(3600)
    chases = [event for event in events if event.kind == "chase"]
    shown = sum(event.burst_frame != event.start_frame for event in chases)
    return {"chases": len(chases), "shown": shown, "bluffs": len(events) - len(chases)}


def test_display_0_shows_no_chase_and_display_1_shows_all():
    none, all_ = count_events(display=0), count_events(display=1)
    assert none["chases"] > 10
    assert none["shown"] == none["bluffs"] == 0
    assert all_["chases"] == all_["shown"] > 10
    assert all_["bluffs"] == 0


def test_the_rarer_encounters_the_fewer_chases():
    rare, often = count_events(encounters=0.05), count_events(encounters=5)
    assert 0 < rare["chases"] < 12  # no more than 0.05 a second, of which three quarters are chases
    assert often["chases"] > 25


def test_the_greater_the_alarm_the_faster_a_burst():
    def speed_behind_chases(alarm: float) -> float:
        tank, speeds = Tank(TankSettings(display=0, alarm=alarm, seed=1)), []
        for _ in range(3600):
            tank.step()
            if tank.chasing is not None:
                speeds.append(tank.speed_n.mean())
        return np.mean(speeds)

    calm, usual, alarmed = (speed_behind_chases(alarm) for alarm in (0, 2, 6))
    assert calm < usual < alarmed
    assert alarmed > 1.5 * calm


@pytest.mark.parametrize(("display_s", "shortest", "longest"), [(0.9, 21, 33), (1.8, 42, 66)])
def test_a_display_lasts_as_long_as_it_is_told_and_fins_spread_the_more_slowly(display_s, shortest, longest):
    """0.7 to 1.1 s by default, at 30 fps; fins are wholly spread after 1 s."""
    tank, widths = Tank(TankSettings(display=1, display_s=display_s)), {}
    for _ in range(3600):
        tank.step()
        widths[tank.frame] = tank.fins_n.max()
    events = [event for event in tank.events_until(3600) if event.burst_frame]
    lengths = [event.burst_frame - event.start_frame for event in events]
    assert min(lengths) >= shortest
    assert max(lengths) <= longest
    assert max(lengths) - min(lengths) > 0.8 * (longest - shortest)
    spread = 30 * display_s / 0.9
    told = [min(1, length / spread) for length in lengths]
    assert [widths[event.burst_frame - 1] for event in events] == pytest.approx(told, abs=1.5 / spread)


def test_events_are_cut_where_the_recording_ends():
    tank = Tank(TankSettings(display=1))
    while tank.displaying is None:
        tank.step()
    (event,) = tank.events_until(tank.frame + 1)
    assert (event.start_frame, event.burst_frame, event.end_frame) == (tank.frame, None, tank.frame)
    assert tank.events_until(tank.frame) == []


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Calibration of eight minutes, from the decoded video."""
    path = tmp_path_factory.mktemp("calibration") / "tank.mp4"
    simulate(path, EIGHT_MINUTES)
    meter = SpeedMeter()
    for frame_hw in Video(path).frames():
        meter.see(frame_hw)
    return calibration(meter.speed)


@pytest.mark.slow
def test_a_simulated_speed_is_spread_as_the_real_one(simulated):
    assert simulated.quantiles == pytest.approx(REAL.quantiles, rel=0.25)


@pytest.mark.slow
def test_a_simulated_speed_lasts_as_long_as_the_real_one(simulated):
    assert simulated.correlations == pytest.approx(REAL.correlations, abs=0.1)
    assert simulated.least_correlation > 0  # out to lag 45


@pytest.mark.slow
def test_bursts_of_a_simulated_tank_are_as_frequent_and_as_hard_to_foresee_as_real_ones(simulated):
    assert simulated.positives == pytest.approx(REAL.positives, abs=0.03)
    assert 0.80 <= simulated.persistence <= 0.87  # 0.81 on the real train split, 0.854 on its validation split


@pytest.mark.shared
def test_what_is_called_real_is_the_real_series(shared):
    real = calibration(np.load(shared / "data/serpae-tetra/train_speed.npy")[:-1])
    assert real.quantiles == pytest.approx(REAL.quantiles, abs=0.005)
    assert (*real.correlations, real.least_correlation) == pytest.approx(
        (*REAL.correlations, REAL.least_correlation), abs=0.005
    )
    assert (real.positives, real.persistence) == pytest.approx((REAL.positives, REAL.persistence), abs=5e-4)


PEAK = """
import resource, sys
from pathlib import Path
from fishray.config.tank import TankSettings
from fishray.simulate import simulate
simulate(Path("tank.mp4"), TankSettings(minutes=float(sys.argv[1]), height=120, width=160))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_is_flat_at_any_length(tmp_path):
    def peak_mib(minutes):
        command = [sys.executable, "-c", PEAK, str(minutes)]
        return float(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout)

    assert peak_mib(1.5) - peak_mib(0.25) < 15  # the frames of 1.25 minutes are 41 MiB


@pytest.mark.parametrize("fish", [2, 40])
def test_no_fish_leaves_the_picture(fish):
    tank = Tank(TankSettings(fish=fish, height=48, width=48))
    for _ in range(300):
        tank.step()
        assert np.all((tank.position_n2 > 0.5) & (tank.position_n2 < 7.5))  # 8 body lengths a side


def test_no_fish_leaves_a_round_tank():
    tank = Tank(TankSettings(fish=20, arena="round"))  # 8 by 10.7 body lengths
    farthest = 0.0
    for _ in range(300):
        tank.step()
        farthest = max(farthest, np.linalg.norm(tank.position_n2 - [16 / 3, 4], axis=1).max())
    assert 2.5 < farthest <= 4 - MARGIN + 1e-9


def test_twice_the_body_lengths_make_fish_half_as_long():
    def lit(body_lengths):
        settings = TankSettings(fish=2, body_lengths=body_lengths, seed=1)
        return (Camera(settings).draw(Tank(settings)) > 40).sum()

    assert lit(16) == pytest.approx(lit(8) / 4, rel=0.2)


def test_noise_changes_no_behaviour(tmp_path):
    simulate(tmp_path / "clean.mp4", SHORT.model_copy(update={"noise": 0.0}))
    simulate(tmp_path / "noisy.mp4", SHORT.model_copy(update={"noise": 8.0}))
    assert events_path(tmp_path / "clean.mp4").read_text() == events_path(tmp_path / "noisy.mp4").read_text()
    assert not np.array_equal(decode(tmp_path / "clean.mp4"), decode(tmp_path / "noisy.mp4"))


def test_progress_rises_to_the_total(tmp_path):
    told = []
    simulate(tmp_path / "tank.mp4", SHORT, lambda done, total: told.append((done, total)))
    assert told == [(done, 180) for done in range(30, 181, 30)]


def test_a_simulation_that_dies_leaves_nothing_behind(tmp_path):
    def die(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "tank.mp4", SHORT, die)
    assert list(tmp_path.iterdir()) == []


def test_another_container_is_refused_with_the_name_to_use(tmp_path):
    with pytest.raises(SettingError, match=r"try .*tank\.mp4"):
        simulate(tmp_path / "tank.avi", SHORT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fish": 1},
        {"minutes": 0},
        {"display": 1.1},
        {"display_s": 0},
        {"encounters": 0},
        {"alarm": -1},
        {"height": 241},
        {"noise": -1},
        {"width": 48},
        {"lenght": 3},
        {"arena": "oval"},
        {"body_lengths": 61},
    ],
)
def test_impossible_tanks_are_refused(wrong):
    with pytest.raises(ValidationError):
        TankSettings(**wrong)
