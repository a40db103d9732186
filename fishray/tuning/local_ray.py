"""A Ray of our own on this machine: on loopback, with a token, its files private and gone afterwards."""

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from fishray.scratch import SHORT, Scratch
from fishray.tuning.node import Node

OBJECT_STORE_BYTES = 100 * 2**20
"""Trials share frames through the cache, not through Ray; this is room for messages."""

LONGEST_SOCKET = 107
SOCKET_BELOW = len("/fishray-1234567890/ray-abcdef/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")


@contextmanager
def ray_on_this_node(node: Node) -> Iterator[None]:
    """Start Ray with what the node has, and stop it."""
    with Scratch(f"ray-{secrets.token_hex(3)}", _room_for_sockets()) as scratch:
        token = scratch.path / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        try:
            ray.init(
                address="local",
                num_cpus=node.cpus,
                num_gpus=len(node.gpu_names),
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(scratch.path),
            )
            yield
        except SystemExit as error:  # what Ray makes of SIGTERM, until we take the signals back
            raise KeyboardInterrupt from error
        finally:
            ray.shutdown()


def _room_for_sockets() -> Path:
    """The system's directory for temporary files, unless the path of Ray's sockets in it would be too long."""
    usual = Path(tempfile.gettempdir())
    return usual if len(os.fsencode(usual)) + SOCKET_BELOW <= LONGEST_SOCKET else SHORT
