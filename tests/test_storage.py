"""Storage that fails in mid-sweep: full, read-only, gone. Real file systems, in a mount namespace of the test's own."""

import textwrap
from pathlib import Path

import pytest
from desk import END_S, START_S, desk_in, wait_for, wait_until_none_is_left
from mounts import mount_namespace
from sealing import seal_command

from fishray.runs import Journal

pytestmark = pytest.mark.slow

ROOM_KB, ROOM_LATER_KB = 160, 20_000
"""A journal and a few checkpoints fill the first; the kernel counts in pages of 4 kB."""

SWEEP = """
data:
  store: data/tank.zarr
  simulate: {minutes: 1.5, fish: 3, height: 48, width: 64, fps: 30}
  look_back: 90
labels: {horizon: 15, range_threshold: auto}
families:
  lstm:
    trials: 1
    space: {learning_rate: {loguniform: [0.003, 0.05]}}
    fixed: {hidden: 4, steps_per_epoch: 20, judged_frames: 60}
search: {max_epochs: 100000, scheduler: none}
"""
"""One trial that never ends by itself, and whose journal grows until there is no room."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A desk, and a namespace in which `runs` is a small file system of its own."""
    with mount_namespace() as namespace, desk_in(tmp_path_factory.mktemp("storage")) as desk:
        (desk.folder / "lone.yaml").write_text(textwrap.dedent(SWEEP))
        for name in ("disk", "runs"):
            (desk.folder / name).mkdir()
        namespace.run("mount", "-t", "tmpfs", "-o", f"size={ROOM_KB}k", "tmpfs", desk.folder / "disk")
        namespace.run("mount", "--bind", desk.folder / "disk", desk.folder / "runs")
        yield namespace, desk


def begin(lab):
    namespace, desk = lab
    return desk.start("tune", "lone.yaml", before=(*namespace.enter, "env", "-C", str(desk.folder)))


def journal(lab):
    namespace, desk = lab
    return Journal(namespace.seen(desk.folder / "disk" / "lone" / "journal.jsonl"))


def epochs(lab, attempt):
    results = (each for each in journal(lab) if each["event"] == "result")
    return [each["epoch"] for each in results if each["attempt"] == attempt]


def end_of(process, lab):
    """Exit status and last words of a command that ends by itself, and what it left running."""
    status = process.wait(START_S + END_S)
    _, desk = lab
    return status, desk.log().splitlines()[-1], wait_until_none_is_left(desk)


def parts(lab):
    """Files of which only a part was written."""
    namespace, desk = lab
    return list(namespace.seen(desk.folder / "disk").rglob("*.part"))


def test_a_sweep_survives_a_disk_that_is_full_then_read_only_then_gone(lab):
    namespace, desk = lab
    runs, disk = desk.folder / "runs", desk.folder / "disk"

    status, said, left = end_of(begin(lab), lab)
    assert (status, left, parts(lab)) == (2, [], [])
    assert said.startswith("fishray: ")
    assert "cannot be written (No space left on device)" in said
    assert said.endswith("When that is mended, go on: fishray tune lone.yaml")
    first = epochs(lab, 1)
    assert first == list(range(1, len(first) + 1))
    before = journal(lab).path.read_bytes()
    assert before.endswith(b"\n")

    namespace.run("mount", "-o", f"remount,size={ROOM_LATER_KB}k", disk)
    process = begin(lab)
    wait_for(lambda: len(epochs(lab, 2)) > 2, process, desk)
    assert epochs(lab, 2)[0] == len(first) + 1  # the last epoch was saved, or it is trained again; none is left out
    namespace.run(*seal_command(disk, runs))
    status, said, left = end_of(process, lab)
    assert (status, left, parts(lab)) == (2, [], [])
    assert "cannot be written (Read-only file system)" in said
    second = [*first, *epochs(lab, 2)]
    assert second == list(range(1, len(second) + 1))

    namespace.run("umount", runs)
    process = begin(lab)
    wait_for(lambda: len(epochs(lab, 3)) > 2, process, desk)
    namespace.run("umount", "--lazy", runs)
    status, said, left = end_of(process, lab)
    assert (status, left) == (2, [])
    assert f"{Path('runs') / 'lone'}" in said
    third = [*second, *epochs(lab, 3)]
    assert third == list(range(1, len(third) + 1))

    namespace.run("mount", "--bind", disk, runs)
    process = begin(lab)
    wait_for(lambda: len(epochs(lab, 4)) > 2, process, desk)
    fourth = [*third, *epochs(lab, 4)]
    assert fourth == list(range(1, len(fourth) + 1))
    assert journal(lab).path.read_bytes().startswith(before)
