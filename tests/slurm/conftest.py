"""Slurm clusters to test on. With FISHRAY_REQUIRE_SLURM=1 a test fails where it would skip for want of one."""

import os
from pathlib import Path

import pytest
from slurm_cluster import slurm_cluster, why_not

CLUSTERS = ("cluster", "accounting_cluster")
LONGEST_S = 1800
"""For one test, on a machine on which everything takes several times as long."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("slurm")
            item.add_marker(pytest.mark.timeout(LONGEST_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Show with a failure what the cluster's daemons wrote."""
    report = yield
    for name in CLUSTERS:
        if report.failed and name in getattr(item, "funcargs", {}):
            report.sections.append((f"logs of {name}", item.funcargs[name].logs()))
    return report


def need_slurm(accounting=False):
    """Skip, or fail, if there can be no cluster."""
    if reason := why_not(accounting):
        if os.environ.get("FISHRAY_REQUIRE_SLURM") == "1":
            pytest.fail(f"FISHRAY_REQUIRE_SLURM is 1, but {reason}")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def slurm_is_here():
    """For tests that make a cluster of their own."""
    need_slurm()


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    """Three nodes without accounting, as many sites are; a module's SLURM_CONF goes before the settings of all."""
    need_slurm()
    settings = getattr(request.module, "SLURM_CONF", None)
    with slurm_cluster(tmp_path_factory.mktemp("slurm") / "cluster", settings=settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def accounting_cluster(tmp_path_factory):
    """Three nodes of which sacct tells."""
    need_slurm(accounting=True)
    with slurm_cluster(tmp_path_factory.mktemp("slurm") / "accounting", accounting=True) as cluster:
        yield cluster
