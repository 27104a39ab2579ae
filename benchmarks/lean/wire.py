"""What the two sides agree on besides Flower's protobuf messages.

`Join` gives a node its Context; over `Exchange`, one stream a node, messages go down and replies come up, in turns.
"""

SERVICE, JOIN, EXCHANGE = "fedsieve.LeanGrid", "Join", "Exchange"

OPTIONS = (
    ("grpc.max_send_message_length", -1),  # gRPC's own limit is 4 MB; protobuf's, 2 GB, stays
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),  # a side that stands still or is cut off is noticed in 10 to 20 seconds:
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # 60,000 by itself, and it is what counts while messages are on their way
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)
