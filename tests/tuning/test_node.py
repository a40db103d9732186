import subprocess
from types import SimpleNamespace

import pytest

from fishray.config.sweep import Resources, Sweep
from fishray.errors import ResourceError
from fishray.tuning import node as node_module
from fishray.tuning.node import (
    AUTO_GPU_SHARE,
    Node,
    check_resources,
    gpu_share,
    list_gpus,
    this_node,
    trials_at_once,
)

TWO_GPUS = "NVIDIA A100-SXM4-40GB\nNVIDIA H200\n"


@pytest.fixture(autouse=True)
def no_visible_devices(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def sweep(**resources):
    families = {
        "lstm": {"model": "lstm", "trials": 1},
        "convlstm": {"model": "convlstm", "trials": 1, "resources": resources},
    }
    return Sweep.model_validate({"name": "mine", "data": {"store": "tank.zarr"}, "families": families}, strict=False)


def test_the_names_of_gpus_are_the_lines_of_nvidia_smi():
    assert this_node(lambda: TWO_GPUS).gpu_names == ("NVIDIA A100-SXM4-40GB", "NVIDIA H200")


@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_no_line_is_no_gpu(text):
    assert this_node(lambda: text).gpu_names == ()


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("1", 1), ("0,1", 2), ("GPU-8f2c", 1), ("0,1,2,3", 2)]
)
def test_only_visible_devices_count(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(this_node(lambda: TWO_GPUS).gpu_names) == count


def test_cpus_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(node_module.os, "sched_getaffinity", lambda _: {0, 3, 5})
    assert this_node(lambda: "").cpus == 3


@pytest.mark.parametrize(
    "error", [FileNotFoundError("nvidia-smi"), subprocess.CalledProcessError(9, "nvidia-smi"),
              subprocess.TimeoutExpired("nvidia-smi", 20)],
)  # fmt: skip
def test_an_nvidia_smi_that_is_missing_or_fails_lists_no_gpu(monkeypatch, error):
    def fail(*_, **__):
        raise error

    fake = SimpleNamespace(run=fail, SubprocessError=subprocess.SubprocessError)
    monkeypatch.setattr(node_module, "subprocess", fake)
    assert list_gpus() == ""


@pytest.mark.parametrize(
    ("asked", "names", "share"),
    [("auto", (), 0.0), ("auto", ("A100",), AUTO_GPU_SHARE), (0, ("A100",), 0.0), (0.5, ("A100",), 0.5), (2, (), 2.0)],
)
def test_auto_is_a_share_of_a_gpu_where_there_is_one(asked, names, share):
    assert gpu_share(Resources(gpus=asked), len(names)) == share


def test_a_sweep_that_fits_is_let_through():
    check_resources(sweep(cpus=2), Node(2, ()))
    check_resources(sweep(cpus=2, gpus=2), Node(2, ("A100", "A100")))


def test_too_many_cpus_are_refused_with_what_is_asked_what_is_here_and_what_to_type():
    with pytest.raises(ResourceError) as caught:
        check_resources(sweep(cpus=3), Node(2, ()))
    assert str(caught.value) == (
        "families.convlstm.resources.cpus: a trial asks for 3 CPUs, this machine has 2; lower it: "
        "--set families.convlstm.resources.cpus=2"
    )


@pytest.mark.parametrize(("gpus", "names", "words"), [
    (0.5, (), "a trial asks for 0.5 GPUs, this machine has 0"),
    (2, ("A100",), "a trial asks for 2 GPUs, this machine has 1"),
])  # fmt: skip
def test_a_gpu_that_is_not_here_is_refused_never_replaced_by_a_cpu(gpus, names, words):
    with pytest.raises(ResourceError) as caught:
        check_resources(sweep(gpus=gpus), Node(2, names))
    assert str(caught.value) == (
        f"families.convlstm.resources.gpus: {words}; leave it to the machine: "
        "--set families.convlstm.resources.gpus=auto"
    )


@pytest.mark.parametrize(
    ("cpus", "gpus", "node", "trials"),
    [
        (1, 0, Node(8, ()), 8),
        (3, 0, Node(8, ()), 2),
        (1, 0.4, Node(64, ("a",) * 3), 6),  # two on each: a share lies on one GPU
        (1, 1, Node(64, ("a",) * 3), 3),
        (4, 0.25, Node(8, ("a",)), 2),
        (1, 2, Node(64, ("a",) * 5), 2),
    ],
)
def test_as_many_trials_run_at_once_as_cpus_and_gpus_hold(cpus, gpus, node, trials):
    assert trials_at_once(Resources(cpus=cpus, gpus=gpus), node) == trials
