"""Each warning fires on a recording that has what it tells, with its numbers and its remedy, and on no clean one."""

import numpy as np
import pytest

from fishray.signals.findings import Evidence, findings
from fishray.signals.speed import frame_speed
from fishray.signals.thresholds import suggest_threshold

HORIZON = 45


def look(speed, frames_thw=None, fps=30.0, horizon=HORIZON, times_s=None, normalised=False):
    """What is found, by kind."""
    means = () if frames_thw is None else [frames_thw.mean(axis=(1, 2))]
    train = speed[: round(0.6 * len(speed))]
    suggested = suggest_threshold([(train, horizon)])
    evidence = Evidence(speed, fps, horizon, 0.1, 0.001, suggested, means, times_s, normalised)
    return {finding.kind: finding for finding in findings(evidence)}


def only(found, kind):
    assert list(found) == [kind]
    return found[kind]


def test_clean_tanks_give_no_warning(films, tanks):
    assert [look(speed, film) for speed, film in zip(tanks, films, strict=True)] == [{}, {}]


def test_spikes_are_told_with_their_period_and_what_they_do_to_the_labels(tanks):
    damaged = tanks[0].copy()
    damaged[24::25] += 0.005
    finding = only(look(damaged, fps=25.0), "spikes")
    assert "every 25 frames (1 s)" in finding.text
    assert finding.remedy == "ingest it again with --repair-spikes"
    assert finding.numbers["period"] == 25
    assert finding.numbers["labels_changed"] > 0.3
    assert f"{finding.numbers['labels_changed']:.1%} of the labels come from it" in finding.text


def test_flicker_is_told_with_its_period_in_frames_and_hertz(films):
    gain_t = 1 + 0.1 * np.sin(2 * np.pi * np.arange(len(films[0])) / 3)
    film = np.clip(films[0] * gain_t[:, None, None] + 0.5, 0, 255).astype(np.uint8)
    finding = only(look(frame_speed(film), film), "flicker")
    assert "with a period of 3.0 frames (10.0 Hz)" in finding.text
    assert finding.remedy == "ingest it again with --normalise-flicker"
    assert finding.numbers["hertz"] == pytest.approx(10, rel=0.001)


def test_light_without_a_period_is_told_so(films):
    gain_t = np.random.default_rng(0).normal(1, 0.1, len(films[0]))
    film = np.clip(films[0] * gain_t[:, None, None] + 0.5, 0, 255).astype(np.uint8)
    assert "from frame to frame, without a period" in look(frame_speed(film), film)["flicker"].text


def test_a_still_recording_under_noise_is_told_so():
    film = np.random.default_rng(0).normal(90, 4, (1500, 48, 64)).astype(np.uint8)
    finding = only(look(frame_speed(film), film), "stillness")
    assert finding.text.startswith("nearly still: in a third of its horizons the speed varies by less than ")
    assert finding.remedy.startswith("range_threshold: auto is refused; state one well above ")
    assert finding.numbers["range"] == pytest.approx(finding.numbers["noise_range"], rel=0.2)


def test_a_converted_frame_rate_is_told_with_the_true_one(tanks):
    speed = np.insert(tanks[0][:2500], np.arange(5, 2500, 5), 0)  # 25 frames per second, every fifth shown twice
    finding = only(look(speed), "repeats")
    assert "repeated frames: 16.6% equal the one before, 1 of every 6" in finding.text
    assert finding.remedy == "ingest it again with --resample 25"


def test_frames_that_were_missed_are_told(tanks):
    speed = tanks[0].copy()
    for start in (100, 777, 2000, 3100):
        speed[start : start + 15] = 0
    finding = only(look(speed), "repeats")
    assert finding.text == "repeated frames: 1.7% equal the one before, at irregular places, up to 15 in a row"
    assert "--start" in finding.remedy


def test_irregular_times_are_told(tanks):
    gaps_s = np.full(len(tanks[0]), 0.04)
    gaps_s[10::100] = 0.25
    finding = only(look(tanks[0], times_s=np.concatenate([[0], np.cumsum(gaps_s)])), "times")
    assert "1.0% of the frames come more than 10% sooner or later than 40.0 ms after the one before" in finding.text
    assert "one 250 ms after it" in finding.text
    assert finding.remedy == "ingest it again with --resample 25"


@pytest.mark.parametrize(("gain", "word"), [(1.3, "30% brighter"), (0.7, "30% darker")])
def test_light_that_changes_behind_train_is_told(films, tanks, gain, word):
    film = films[0].astype(float)
    film[2160:] *= gain * film[:2160].mean() / film[2160:].mean()
    assert word in only(look(tanks[0], film), "brightness").text


@pytest.mark.parametrize("factor", [3, 1 / 3])
def test_animals_that_change_their_ways_behind_train_are_told(tanks, factor):
    speed = np.tile(tanks[0][:720], 5)  # the same five times, the first three of them in train
    speed[2160:] *= factor
    finding = only(look(speed), "activity")
    assert finding.numbers["ratio"] == pytest.approx(factor, rel=0.02)
    assert f"the median speed after the first 60% is {finding.numbers['ratio']:.2g} times that before" in finding.text


def test_a_recording_too_short_for_the_default_split_is_told(tanks):
    finding = only(look(tanks[0][:828]), "length")  # 829 frames: 165 in a fifth
    assert "a 20% split has 165 frames, and look-back 120 + horizon 45 + 1 = 166 are needed" in finding.text
    assert look(tanks[0][:829]) == {}


def test_a_recording_shorter_than_its_horizon_is_only_too_short(tanks):
    assert list(look(tanks[0][:20])) == ["length"]


def test_what_rounding_leaves_of_a_flicker_is_not_told_again(films):
    gain_t = 1 + 0.1 * np.sin(2 * np.pi * np.arange(len(films[0])) / 3)
    film = np.clip(films[0] * gain_t[:, None, None] + 0.5, 0, 255).astype(np.uint8)
    assert "flicker" not in look(frame_speed(film), film, normalised=True)
