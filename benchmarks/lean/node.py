"""A node: a process that connects, answers messages with the one ClientApp, and connects again when it is cut off."""

import sys
import time
from pathlib import Path
from queue import SimpleQueue

import grpc
from flwr.clientapp import ClientApp
from flwr.common.serde import context_from_proto, message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.recorddict_pb2 import RecordDict as Nothing

from fedsieve.client.app.client_app import make_client_app
from fedsieve.client.app.state import DiskStore
from fedsieve.simulations.grid import answer
from lean.keys import node_credentials
from lean.wire import EXCHANGE, JOIN, OPTIONS, SERVICE

PAUSE = 1.0
"""Seconds before a node that was cut off tries again."""

PATIENCE = 60.0
"""Seconds for the server to be there."""


def serve(channel: grpc.Channel, app: ClientApp) -> None:
    """Join, and answer messages until the server lets the node go."""
    join = channel.unary_unary(f"/{SERVICE}/{JOIN}", Nothing.SerializeToString, ProtoContext.FromString)
    exchange = channel.stream_stream(f"/{SERVICE}/{EXCHANGE}", ProtoMessage.SerializeToString, ProtoMessage.FromString)
    context = context_from_proto(join(Nothing(), timeout=PATIENCE, wait_for_ready=True))
    replies: SimpleQueue[ProtoMessage | None] = SimpleQueue()
    try:
        for message in exchange(iter(replies.get, None)):
            replies.put(message_to_proto(answer(app, message_from_proto(message), context)))
    finally:
        replies.put(None)


def main(address: str, keys: str, name: str, folder: str) -> None:
    """Serve until the server lets the node go; clients' states are in `folder`."""
    app = make_client_app(lambda _: DiskStore(Path(folder)))
    with grpc.secure_channel(address, node_credentials(Path(keys), name), OPTIONS) as channel:
        while True:
            try:
                return serve(channel, app)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.PERMISSION_DENIED:
                    raise
                time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
