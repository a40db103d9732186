"""The cluster block of a sweep, and a site's profile under it."""

import json
import re
from pathlib import Path

import pytest

from fishray.config.loader import PROFILE, dump_sweep, load_profile, load_sweep
from fishray.errors import SweepFileError
from hpc.settings import ClusterSettings, WorkerCount

SITE = Path(__file__).parents[2] / "slurm" / "site.yaml"

SWEEP = """\
data: {store: tank.zarr}
families:
  lstm: {trials: 2}
"""

BLOCK = """\
cluster:
  gpus: 2
  time: "1-00"
  workers: {max: 8}
"""


@pytest.fixture
def load(tmp_path):
    """Load a sweep with a cluster block, and say where it is in the file."""

    def load_text(block="", *overrides, profile=None):
        path = tmp_path / "mine.yaml"
        path.write_text(SWEEP + block)
        return load_sweep(path, overrides, profile).cluster

    return load_text


@pytest.fixture
def load_site(tmp_path):
    """Load a site's profile."""

    def load_text(text):
        path = tmp_path / "site.yaml"
        path.write_text(text)
        return load_profile(path)

    return load_text


def faults_of(load, *given, **more):
    """The file that is at fault, and the rows below it."""
    with pytest.raises(SweepFileError) as caught:
        load(*given, **more)
    heading, *rows = str(caught.value).splitlines()
    path, _, count = heading.rpartition(": ")
    assert count == f"{len(rows)} fault{'s' if len(rows) > 1 else ''}"
    return Path(path).name, [" ".join(row.split()) for row in rows]


def test_a_sweep_without_a_block_is_for_this_machine_alone(load):
    assert load() is None


def test_a_block_says_what_workers_are_and_leaves_the_rest_at_its_default(load):
    assert load(BLOCK) == ClusterSettings(gpus=2, time="1-00", workers=WorkerCount(max=8))


@pytest.mark.parametrize("profile", [{}, {"partition": "gpu", "gpus": 4}])
def test_a_profile_makes_a_sweep_without_a_block_one_for_slurm(load, profile):
    assert load(profile=profile) == ClusterSettings(**profile)
    assert load("cluster: {}\n", profile=profile) == ClusterSettings(**profile)


def test_the_block_wins_over_the_profile_setting_by_setting(load):
    profile = {
        "partition": "gpu", "gpus": 4, "workers": {"min": 1, "max": 2}, "setup": ["module load cuda"],
        "sbatch": {"qos": "normal", "constraint": "a100"}, "driver": {"partition": "cpu"},
    }  # fmt: skip
    settings = load(f"{BLOCK}  setup: [module load cuda/12]\n  sbatch: {{qos: long}}\n", profile=profile)
    assert (settings.gpus, settings.time, settings.workers) == (2, "1-00", WorkerCount(min=1, max=8))
    assert (settings.partition, settings.driver.partition) == ("gpu", "cpu")
    assert settings.setup == ("module load cuda/12",)
    assert settings.sbatch == {"qos": "long", "constraint": "a100"}


def test_the_command_line_wins_over_both(load):
    profile = {"gpus": 4, "partition": "gpu", "sbatch": {"qos": "normal"}}
    overrides = ["cluster.gpus=1", "cluster.workers.min=3", "cluster.sbatch.qos=long", "cluster.driver.cpus=1"]
    settings = load(BLOCK, *overrides, profile=profile)
    assert (settings.gpus, settings.workers, settings.partition) == (1, WorkerCount(min=3, max=8), "gpu")
    assert (settings.sbatch, settings.driver.cpus) == ({"qos": "long"}, 1)


def test_the_command_line_makes_a_block(load):
    assert load("", "cluster.gpus=2") == ClusterSettings(gpus=2)


def test_a_setting_of_the_profile_can_be_taken_back(load):
    profile = {"partition": "gpu", "sbatch": {"exclusive": True}}
    settings = load("cluster:\n  partition:\n  sbatch: {exclusive: false}\n", profile=profile)
    assert (settings.partition, settings.sbatch) == (None, {"exclusive": False})


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ("gpu: 2", "line 5 cluster.gpu unknown setting; did you mean gpus?"),
        ("wokers: {max: 2}", "line 5 cluster.wokers unknown setting; did you mean workers?"),
        ("workers: {maks: 2}", "line 5 cluster.workers.maks unknown setting; one of min, max"),
        ("driver:\n    acount: fish", "line 6 cluster.driver.acount unknown setting; did you mean account?"),
        ("gpus: 2\n  gpus: 4", "line 6 cluster.gpus stands twice; first on line 5"),
        ("gpus: two", "line 5 cluster.gpus 'two': must be a valid integer"),
        ("gpus: 0.5", "line 5 cluster.gpus 0.5: must be a valid integer"),
        ("gpus:", "line 5 cluster.gpus is empty; give it a value or leave it out"),
        ("memory_gb: 64G", "line 5 cluster.memory_gb '64G': must be a valid number"),
        ("time: 4h", "line 5 cluster.time '4h': must be a time as Slurm writes it, like 04:00:00 or 1-12:00:00"),
        ("time: 60", 'line 5 cluster.time 60: must be a time as Slurm writes it, in quotes, like "04:00:00"'),
        ("time:", "line 5 cluster.time is empty; give it a value or leave it out"),
        ("time: 02:00", "line 4 cluster time 02:00 is within notice_s 120"),
        ("environment: packt", "line 5 cluster.environment 'packt' is not allowed; did you mean packed?"),
        ("setup: module load cuda", "line 5 cluster.setup 'module load cuda': must be a list"),
        ("workers: 4", "line 5 cluster.workers 4: must be a mapping of settings"),
        ("workers: {min: 5}", "line 5 cluster.workers min 5 is above max 4"),
        ("sbatch: [--exclusive]", "line 5 cluster.sbatch ['--exclusive']: must be a mapping of settings"),
        ("sbatch: {nice: 1.5}", "line 5 cluster.sbatch.nice 1.5: must be a word, a whole number, true or false"),
    ],
)
def test_a_fault_of_the_block_names_its_line_its_key_and_the_remedy(load, block, fault):
    assert faults_of(load, f"cluster:\n  {block}\n") == ("mine.yaml", [fault])


def test_a_block_that_is_no_mapping_is_refused_whatever_the_profile(load):
    fault = "line 4 cluster 4: must be a mapping of settings"
    assert faults_of(load, "cluster: 4\n") == ("mine.yaml", [fault])
    assert faults_of(load, "cluster: 4\n", profile={"gpus": 2}) == ("mine.yaml", [fault])


def test_a_time_needs_no_quotes_where_it_has_a_colon(load):  # in YAML 1.1, 04:00:00 is 14400
    assert load("cluster: {time: 04:00:00}\n").time == "04:00:00"


def test_faults_of_the_block_are_reported_with_all_others(load):
    block = "cluster:\n  gpu: 2\n  driver: {cpu: 1}\nsearch: {max_epochs: 0}\n"
    assert faults_of(load, block, "cluster.cpus=none") == (
        "mine.yaml",
        [
            "--set cluster.cpus 'none': must be a valid integer",
            "line 5 cluster.gpu unknown setting; did you mean gpus?",
            "line 6 cluster.driver.cpu unknown setting; did you mean cpus?",
            "line 7 search.max_epochs 0: must be greater than 0",
        ],
    )


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("cluster.gpu=2", "--set cluster.gpu unknown setting; did you mean gpus?"),
        ("cluster.gpus=two", "--set cluster.gpus 'two': must be a valid integer"),
        ("cluster.workers.min=9", "line 7 cluster.workers min 9 is above max 8"),
        ("cluster.workers=9", "--set cluster.workers 9: must be a mapping of settings"),
    ],
)
def test_a_fault_of_the_command_line_is_reported_as_such(load, override, fault):
    assert faults_of(load, BLOCK, override) == ("mine.yaml", [fault])


def test_what_profile_and_block_say_must_agree(load):
    profile = {"workers": {"max": 4}, "notice_s": 7200}
    fewer = ["line 5 cluster.workers min 5 is above max 4"]
    shorter = ["line 4 cluster time 2:00:00 is within notice_s 7200"]
    assert faults_of(load, "cluster:\n  workers: {min: 5}\n", profile=profile) == ("mine.yaml", fewer)
    assert faults_of(load, "cluster:\n  time: 2:00:00\n", profile=profile) == ("mine.yaml", shorter)


def test_a_resolved_block_loads_to_the_same_block(load, tmp_path):
    profile = {"setup": ["module load cuda"], "sbatch": {"exclusive": True, "nice": 5}, "scratch": "/local/ada"}
    load(BLOCK, profile=profile)
    sweep = load_sweep(tmp_path / "mine.yaml", profile=profile)
    dump_sweep(sweep, tmp_path / "resolved.yaml")
    assert load_sweep(tmp_path / "resolved.yaml") == sweep
    assert sweep.cluster.sbatch == {"exclusive": True, "nice": 5}


def test_a_profile_is_what_stands_under_cluster(load_site, load):
    profile = load_site("partition: gpu\nworkers: {max: 16}\ndriver:\n  partition: cpu\n")
    assert profile == {"partition": "gpu", "workers": {"max": 16}, "driver": {"partition": "cpu"}}
    assert load(profile=profile).workers.max == 16


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("gpus: 2\npartion: gpu\n", ["line 2 partion unknown setting; did you mean partition?"]),
        ("gpus: 2\ngpus: 4\n", ["line 2 gpus stands twice; first on line 1"]),
        ("driver:\n  cpus: none\n", ["line 2 driver.cpus 'none': must be a valid integer"]),
        ("workers:\n  min: 5\n", ["line 1 workers min 5 is above max 4"]),
        ("gpu: 2\ntime: soon\n",
         ["line 1 gpu unknown setting; did you mean gpus?",
          "line 2 time 'soon': must be a time as Slurm writes it, like 04:00:00 or 1-12:00:00"]),
        ("gpus: !int_of 1\n", ["line 1 not YAML: could not determine a constructor for the tag '!int_of'"]),
    ],
)  # fmt: skip
def test_faults_of_a_profile_are_reported_with_its_own_path_and_lines(load_site, text, faults):
    assert faults_of(load_site, text) == ("site.yaml", faults)


def test_a_profile_with_a_cluster_block_is_told_what_may_stand_there(load_site):
    name, (fault,) = faults_of(load_site, "cluster: {gpus: 2}\n")
    assert name == "site.yaml"
    assert fault.startswith("line 1 cluster unknown setting; one of workers, cpus, gpus, memory_gb, time, partition,")


def test_a_profile_that_is_named_must_be_there(tmp_path):
    with pytest.raises(SweepFileError, match=r"no site profile at .*site\.yaml"):
        load_profile(tmp_path / "site.yaml")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of this test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_profile_is_in_the_users_configuration_folder(home, monkeypatch):
    assert load_profile() == {}
    put(home / ".config" / PROFILE, "gpus: 1\n")
    assert load_profile() == {"gpus": 1}
    put(home / "elsewhere" / PROFILE, "gpus: 2\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    assert load_profile() == {"gpus": 2}
    monkeypatch.setenv("XDG_CONFIG_HOME", "")  # as good as not set
    assert load_profile() == {"gpus": 1}


def test_a_configuration_folder_without_a_profile_has_none(home, monkeypatch):
    put(home / ".config" / PROFILE, "gpus: 1\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    assert load_profile() == {}


def test_a_faulty_profile_in_the_configuration_folder_is_named_by_its_whole_path(home):
    put(home / ".config" / PROFILE, "gpu: 1\n")
    with pytest.raises(SweepFileError) as caught:
        load_profile()
    assert str(caught.value).splitlines() == [
        f"{home / '.config' / 'fishray' / 'cluster.yaml'}: 1 fault",
        "  line 1   gpu  unknown setting; did you mean gpus?",
    ]


def test_a_profile_that_is_named_is_read_instead_of_the_users_own(home, load_site):
    put(home / ".config" / PROFILE, "gpus: 1\n")
    assert load_site("gpus: 3\n") == {"gpus": 3}


def test_the_profile_that_is_shipped_is_one():
    site = load_profile(SITE)
    assert ClusterSettings.model_validate_json(json.dumps(site)).workers.max == site["workers"]["max"] == 8


def test_every_line_of_it_that_is_a_comment_is_a_setting_too(tmp_path):
    text = re.sub(r"^# (\w+: )", r"\1", SITE.read_text(), flags=re.MULTILINE)
    (tmp_path / "all.yaml").write_text(text)
    assert {"partition", "account", "sbatch", "setup", "python", "environment", "interface"} <= load_profile(
        tmp_path / "all.yaml"
    ).keys()
