"""A Ray of our own on this machine: on loopback, with a token, its files private and gone afterwards."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from fishray.scratch import Scratch
from fishray.tuning.node import Node

OBJECT_STORE_BYTES = 100 * 2**20
"""Trials share frames through the cache, not through Ray; this is room for messages."""


@contextmanager
def ray_on_this_node(node: Node) -> Iterator[None]:
    """Start Ray with what the node has, and stop it."""
    with Scratch(f"ray-{secrets.token_hex(3)}") as scratch:
        token = scratch.path / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        logging.getLogger("ray").setLevel(logging.CRITICAL)
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
        try:
            yield
        finally:
            ray.shutdown()
