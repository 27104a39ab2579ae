"""What the lean Grid does when a node is killed, stands still, or is none of its own."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import grpc
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.recorddict_pb2 import RecordDict as Nothing

from lean.keys import SERVER, make_keys, node_credentials
from lean.processes import NODES, STRANGER, leaning
from lean.wire import JOIN, OPTIONS, SERVICE

TRIVIAL = {"algorithm": "metered", "num-clients": len(NODES)}


def check_strangers(folder: Path) -> None:
    """End if anyone but the run's nodes may join it."""
    with leaning(folder, TRIVIAL | {"num-rounds": 100_000, "out": str(folder / "run")}) as started:
        wait_until(lambda: last_round(folder / "run"))
        keys, other = folder / "keys", folder / "other"
        make_keys(other, NODES)
        ca, foreign = (
            (keys / "ca.crt").read_bytes(),
            ((other / f"{NODES[0]}.{end}").read_bytes() for end in ("key", "crt")),
        )
        asking = {
            "without a certificate": grpc.ssl_channel_credentials(ca),
            "with one of another CA": grpc.ssl_channel_credentials(ca, *foreign),
            "with the server's own": node_credentials(keys, SERVER),
            "with one that names no node": node_credentials(keys, STRANGER),
        }
        if not is_let_in(started.address, node_credentials(keys, NODES[0])):
            raise SystemExit("a node may not join")
        if wrong := [who for who, credentials in asking.items() if is_let_in(started.address, credentials)]:
            raise SystemExit(f"someone {wrong[0]} may join")
    print(f"May not join: someone {', '.join(asking)}.\n")


def is_let_in(address: str, credentials: grpc.ChannelCredentials) -> bool:
    """Ask to join."""
    with grpc.secure_channel(address, credentials, OPTIONS) as channel:
        join = channel.unary_unary(f"/{SERVICE}/{JOIN}", Nothing.SerializeToString, ProtoContext.FromString)
        try:
            join(Nothing(), timeout=10)
        except grpc.RpcError as error:
            return error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED}
        return True


def fault(sign: signal.Signals, folder: Path) -> tuple[float, float]:
    """Send a signal to a node in mid-run; return seconds until the round without it is over, and until it is back.

    A new process then takes the node's place, that of a stopped one after killing it, and has to import torch first.
    """
    run, name = folder / "run", NODES[1]
    with leaning(folder, TRIVIAL | {"num-rounds": 100_000, "out": str(run)}) as started:
        wait_until(lambda: last_round(run).get("round", 0) > 20)
        started.nodes[name].send_signal(sign)
        began = time.perf_counter()
        wait_until(lambda: last_round(run)["rejected"])
        missed = time.perf_counter()
        started.nodes[name].kill()
        started.nodes[name].wait()
        started.nodes[name] = started.start(name)
        wait_until(lambda: not last_round(run)["rejected"])
        return missed - began, time.perf_counter() - missed


def last_round(run: Path) -> dict:
    """Return the last whole line of a file that is being written, empty if there is none."""
    try:
        with (run / "rounds.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    return next((json.loads(line) for line in reversed(lines[1:]) if line.endswith(b"\n")), {})


def wait_until(arrived: Callable[[], object]) -> None:
    until = time.monotonic() + 180
    while not arrived():
        if time.monotonic() > until:
            raise SystemExit("waited for three minutes")
        time.sleep(0.05)
