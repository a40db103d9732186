import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hpc.settings import ClusterSettings, JobSettings, WorkerCount, merge


def read(**block):
    """Settings as they come from a file."""
    return ClusterSettings.model_validate_json(json.dumps(block))


def faults(**block):
    with pytest.raises(ValidationError) as caught:
        read(**block)
    return [(".".join(map(str, each["loc"])), each["msg"]) for each in caught.value.errors()]


def test_everything_has_a_default():
    settings = read()
    assert (settings.workers.min, settings.workers.max) == (0, 4)
    assert (settings.cpus, settings.gpus, settings.memory_gb, settings.time) == (4, 0, 16.0, "04:00:00")
    assert (settings.driver.cpus, settings.driver.memory_gb, settings.driver.time) == (2, 8.0, "1-00:00:00")
    assert (settings.partition, settings.account, settings.python, settings.interface) == (None, None, None, None)
    assert (settings.sbatch, settings.setup, settings.scratch) == ({}, (), Path("/tmp"))


def test_a_file_says_everything():
    settings = read(
        workers={"min": 1, "max": 8},
        cpus=16,
        gpus=4,
        memory_gb=64,
        time="2-00",
        partition="gpu",
        account="fish",
        sbatch={"qos": "long", "nice": 100, "exclusive": True, "mem": False},
        setup=["module load cuda", "ulimit -n 65536"],
        python="apptainer exec --nv image.sif python3",
        environment="packed",
        scratch="/local/ada",
        interface="ib0",
        idle_s=5,
        notice_s=300,
        patience_s=0.5,
        driver={"cpus": 1, "memory_gb": 4, "time": "5-00", "partition": "cpu"},
    )
    assert settings.workers == WorkerCount(min=1, max=8)
    assert settings.sbatch == {"qos": "long", "nice": 100, "exclusive": True, "mem": False}
    assert [type(value) for value in settings.sbatch.values()] == [str, int, bool, bool]
    assert settings.setup == ("module load cuda", "ulimit -n 65536")
    assert settings.scratch == Path("/local/ada")
    assert settings.driver == JobSettings(cpus=1, memory_gb=4.0, time="5-00", partition="cpu")


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"gpu": 1}, "gpu"),
        ({"memory": 16}, "memory"),
        ({"workers": {"maximum": 4}}, "workers.maximum"),
        ({"driver": {"gpus": 1}}, "driver.gpus"),
    ],
)
def test_a_misspelt_key_is_an_error(block, place):
    assert faults(**block) == [(place, "Extra inputs are not permitted")]


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"cpus": "4"}, "cpus"),
        ({"cpus": 4.0}, "cpus"),
        ({"cpus": True}, "cpus"),
        ({"cpus": 0}, "cpus"),
        ({"gpus": -1}, "gpus"),
        ({"gpus": 0.5}, "gpus"),  # a share of one is what a trial has
        ({"memory_gb": 0}, "memory_gb"),
        ({"memory_gb": float("inf")}, "memory_gb"),
        ({"time": 240}, "time"),
        ({"time": "4 hours"}, "time"),
        ({"time": None}, "time"),
        ({"setup": "module load cuda"}, "setup"),
        ({"setup": [1]}, "setup.0"),
        ({"environment": "conda"}, "environment"),
        ({"workers": 4}, "workers"),
        ({"workers": {"min": -1}}, "workers.min"),
        ({"workers": {"max": 0}}, "workers.max"),
        ({"idle_s": 0}, "idle_s"),
        ({"notice_s": 0}, "notice_s"),
        ({"notice_s": 70000, "time": "2-00"}, "notice_s"),  # sbatch: Invalid --signal specification
        ({"driver": {"memory_gb": "8G"}}, "driver.memory_gb"),
    ],
)
def test_a_wrong_value_is_an_error_and_none_is_converted(block, place):
    assert [where for where, _ in faults(**block)] == [place]


@pytest.mark.parametrize("value", [1.5, None, ["a"], {"a": "b"}])
def test_an_option_of_sbatch_is_a_word_a_whole_number_or_a_switch(value):
    fault = f"Value error, {value!r}: must be a word, a whole number, true or false"
    assert faults(sbatch={"nice": value}) == [("sbatch.nice", fault)]


def test_a_time_is_written_in_quotes():  # 10 would be ten minutes, 10:30 is text in YAML 1.2, and 1e3 a number
    remedy = 'must be a time as Slurm writes it, in quotes, like "04:00:00"'
    assert faults(time=240) == [("time", f"Value error, 240: {remedy}")]
    assert faults(driver={"time": 90}) == [("driver.time", f"Value error, 90: {remedy}")]


def test_the_least_number_of_workers_is_not_above_the_greatest():
    assert faults(workers={"min": 5, "max": 4}) == [("workers", "Value error, min 5 is above max 4")]
    assert read(workers={"min": 4, "max": 4}).workers.min == 4


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ({"time": "2"}, "time 2 is within notice_s 120"),
        ({"time": "00:02:00"}, "time 00:02:00 is within notice_s 120"),
        ({"time": "04:00:00", "notice_s": 14400}, "time 04:00:00 is within notice_s 14400"),
        ({"driver": {"time": "1"}}, "driver.time 1 is within notice_s 120"),  # else queued again at once, for ever
    ],
)
def test_a_job_has_time_before_it_is_told_to_end(block, fault):
    assert faults(**block) == [("", f"Value error, {fault}")]


def test_a_second_before_it_is_told_is_time_enough():
    assert read(time="02:01").time == "02:01"


def test_a_time_without_limit_is_a_time():
    assert read(time="UNLIMITED").time == "UNLIMITED"


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        read().cpus = 8


def test_settings_that_are_written_are_read_again_as_the_same():
    settings = read(setup=["a"], sbatch={"qos": "long", "exclusive": True}, scratch="/local", workers={"max": 9})
    assert ClusterSettings.model_validate_json(settings.model_dump_json()) == settings


def test_a_block_lies_over_a_profile():
    profile = {
        "partition": "gpu",
        "gpus": 4,
        "workers": {"min": 1, "max": 16},
        "setup": ["module load cuda", "module load python"],
        "sbatch": {"qos": "normal", "constraint": "a100"},
        "driver": {"partition": "cpu"},
    }
    block = {"gpus": 1, "workers": {"max": 2}, "setup": ["true"], "sbatch": {"qos": "long"}, "time": "1-00"}
    assert merge(profile, block) == {
        "partition": "gpu",
        "gpus": 1,
        "workers": {"min": 1, "max": 2},
        "setup": ["true"],
        "sbatch": {"qos": "long", "constraint": "a100"},
        "driver": {"partition": "cpu"},
        "time": "1-00",
    }


def test_a_block_that_is_a_value_replaces_one_that_is_a_mapping_and_the_other_way_round():
    assert merge({"workers": {"max": 2}}, {"workers": 3}) == {"workers": 3}  # refused later, by its line
    assert merge({"workers": 3}, {"workers": {"max": 2}}) == {"workers": {"max": 2}}
    assert merge({"partition": "gpu"}, {"partition": None}) == {"partition": None}


blocks = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda values: st.dictionaries(st.sampled_from("abc"), values, max_size=3),
).map(lambda value: value if isinstance(value, dict) else {"a": value})


@given(blocks, blocks, blocks)
def test_merging_keeps_every_key_and_changes_neither_side(profile, block, other):
    before = json.dumps([profile, block])
    merged = merge(profile, block)
    assert set(merged) == set(profile) | set(block)
    assert json.dumps([profile, block]) == before
    assert merge(merged, block) == merged
    assert merge(profile, {}) == profile
    assert merge({}, other) == other
