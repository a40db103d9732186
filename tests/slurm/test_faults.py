"""What a sweep on Slurm survives: each of its workers lost in another way, and its driver too."""

import signal

import pytest
from slurm_sweep import SWEEP, SlurmSweep, assert_that_nothing_was_lost, left_behind, strike


def make(cluster, name, trials=8, **changes):
    lstm = SWEEP["families"]["lstm"] | {"trials": trials}
    settings = SWEEP | {"families": {"lstm": lstm}, "cluster": SWEEP["cluster"] | changes}
    return SlurmSweep(cluster, name, settings)


def raylet_of(sweep, worker):
    processes = sweep.cluster.processes(node_of(sweep, worker))
    (raylet,) = [each for each in processes if "/raylet/raylet " in each.command and f"/ray-{worker}/" in each.command]
    return raylet.pid


def node_of(sweep, worker):
    return sweep.workers("running")[worker]["node"]


@pytest.mark.slow
def test_a_sweep_survives_every_way_to_lose_a_worker(cluster):
    sweep = make(cluster, "workers", trials=16)
    sweep.submit("--mem=3G")

    worker = sweep.a_busy_worker()
    print("scancel", strike(sweep, worker, lambda: cluster.run("scancel", worker)))

    worker = sweep.a_busy_worker()
    raylet = raylet_of(sweep, worker)
    print("raylet killed", strike(sweep, worker, lambda: cluster.kill(raylet, signal.SIGKILL)))

    worker = sweep.a_busy_worker()
    dark = node_of(sweep, worker)
    print("power cut", strike(sweep, worker, lambda: cluster.power_off(dark)))
    cluster.power_on(dark)

    worker = sweep.a_busy_worker()
    node = node_of(sweep, worker)
    print("network cut", strike(sweep, worker, lambda: cluster.cut_network(node)))
    cluster.mend_network(node)

    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    print(sweep.log())
    assert left_behind(sweep, without_power=[dark]) == []
