"""Small file systems that fill, seal and vanish, in a mount namespace that only a test's processes see."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest


class Namespace:
    """A mount namespace that lives as long as a process in it."""

    def __init__(self):
        own_user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._keeper = subprocess.Popen(
            ["unshare", *own_user, "--mount", "sh", "-c", "echo ready; exec sleep infinity"], stdout=subprocess.PIPE
        )
        ready = self._keeper.stdout.readline()
        self._keeper.stdout.close()
        if not ready:
            self._keeper.wait()
            pytest.skip("this machine lets nobody make a mount namespace")
        as_user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.enter = ["nsenter", f"--target={self._keeper.pid}", *as_user, "--mount"]

    def run(self, *words):
        subprocess.run([*self.enter, *map(str, words)], check=True)

    def seen(self, path):
        """A path as it is in there."""
        return Path(f"/proc/{self._keeper.pid}/root{path}")

    def close(self):
        self._keeper.kill()
        self._keeper.wait()


@contextmanager
def mount_namespace():
    """A namespace of the test's own; skips where there can be none."""
    for tool in ("unshare", "nsenter", "mount"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")
    namespace = Namespace()
    try:
        yield namespace
    finally:
        namespace.close()
