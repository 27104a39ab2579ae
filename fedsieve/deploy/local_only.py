"""An environment in which what is on this machine is reached without a proxy."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

HERE = ("localhost", "127.0.0.1", "::1")

PROXIES = ("all_proxy", "http_proxy", "https_proxy", "grpc_proxy")


def exempt_local_from_proxy(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with this machine in `no_proxy`, spelled in both ways, as gRPC reads one and httpx both.

    A proxy for other hosts stays, for data that a node downloads, if Flower's HTTP client can use one of its kind; it
    would refuse to start with another.
    """
    left = {name: value for name, value in variables.items() if name.lower() not in PROXIES or _is_usable(value)}
    given = [left.get(name, "") for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy")]
    hosts = [host.strip() for value in given for host in value.split(",")]
    exempt = ",".join(dict.fromkeys([*filter(None, hosts), *HERE]))
    again = {"no_grpc_proxy": exempt} if "no_grpc_proxy" in left else {}
    return left | {"no_proxy": exempt, "NO_PROXY": exempt} | again


@contextmanager
def without_local_proxy() -> Iterator[None]:
    """Have this process's HTTP clients that are made meanwhile reach this machine without a proxy."""
    given = dict(os.environ)
    exempt = exempt_local_from_proxy(given)
    try:
        _set_environment(exempt)
        yield
    finally:
        _set_environment(given)


def _set_environment(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _is_usable(proxy: str) -> bool:
    scheme, separator, _ = proxy.lower().partition("://")
    return not separator or scheme in {"http", "https"} or (scheme in {"socks5", "socks5h"} and _has_socks())


def _has_socks() -> bool:
    return find_spec("socksio") is not None
