"""What somebody who has no token tries against another user's Ray; a script for a node, which prints what they got.

python stranger.py ask HOST:PORT …      over HTTP, and by every gRPC method that Ray has, with and without a false token
python stranger.py read < PATHS         files and directories
python stranger.py join HOST:PORT       as a driver
"""

import http.client
import json
import os
import re
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

HEALTH = "/grpc.health.v1.Health/Check"
ENDS_RAY = ("node_id", "ab" * 28)
"""Metadata without which Ray 2.60 ends at a call of RaySyncer/StartSync (ray_syncer_server.cc:30), token or not."""
LONGEST_S = 60
"""For an answer, which comes at once where nobody else computes."""
FALSE_TOKEN = ("authorization", f"Bearer {'ab' * 32}")


def methods():
    """Names of gRPC methods, out of Ray's own binaries; those that stream without end are left out."""
    ray = Path(find_spec("ray").origin).parent
    found = set()
    for binary in ("_raylet.so", "core/src/ray/raylet/raylet", "core/src/ray/gcs/gcs_server"):
        found |= set(re.findall(rb"/(?:ray\.rpc|grpc\.health)[A-Za-z.0-9]*/[A-Za-z]+", (ray / binary).read_bytes()))
    return sorted(name.decode() for name in found if not name.endswith(b"/Watch"))


def ask_http(address):
    """Status by path; a reason where it is no HTTP."""
    answers = {}
    for path in ("/", "/metrics", "/api/version", "/api/jobs/"):
        connection = http.client.HTTPConnection(address, timeout=LONGEST_S)
        try:
            connection.request("GET", path)
            answers[path] = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            answers[path] = type(error).__name__
        finally:
            connection.close()
    return answers


def ask_grpc(address, names):
    """Methods by what they answered: a code, or OK and the bytes."""
    import grpc

    answers = {}
    with grpc.insecure_channel(address) as channel:
        for name in names:
            call = channel.unary_unary(name, request_serializer=bytes, response_deserializer=bytes)
            for metadata in ([ENDS_RAY], [ENDS_RAY, FALSE_TOKEN]):
                try:
                    answer = f"OK {call(b'', timeout=LONGEST_S, metadata=metadata).hex()}"
                except grpc.RpcError as error:
                    answer = error.code().name
                answers.setdefault(answer, set()).add(name)
    return {answer: sorted(which) for answer, which in answers.items()}


def known(paths):
    """Those of some paths of which anything can be known; of processes, what can be read."""
    found = []
    for path in paths:
        with suppress(OSError):
            os.lstat(path)
            if path.startswith("/proc/"):
                Path(path).read_bytes()
            found.append(path)
    return found


def join(address):
    """What becomes of an attempt to drive it: the error, and after how long."""
    import ray

    began_s = time.monotonic()
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is what they got)
        return {"error": type(error).__name__, "words": str(error), "after_s": time.monotonic() - began_s}
    return {"error": None, "nodes": len(ray.nodes())}


def main():
    what, *addresses = sys.argv[1:]
    if what == "ask":
        names = methods()
        said = {address: {"http": ask_http(address), "grpc": ask_grpc(address, names)} for address in addresses}
    elif what == "read":
        said = known(sys.stdin.read().splitlines())
    else:
        said = join(*addresses)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
