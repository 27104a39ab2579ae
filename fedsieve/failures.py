"""What Flower's error codes mean, in plain words: the one table of them."""

import re

from flwr.app import Error
from flwr.common.constant import ErrorCode

NO_MESSAGE = "it is no message"
"""Begins what is wrong with a reply that cannot be read; see `fedsieve.deploy.arrivals`."""

_LOST = "killed or cut off"

_WORDS = {
    ErrorCode.UNKNOWN: "failed",
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "its ClientApp cannot be loaded; the node's log says why",
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: "failed",
    ErrorCode.MESSAGE_UNAVAILABLE: _LOST,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "its reply has expired",
    ErrorCode.NODE_UNAVAILABLE: _LOST,
    ErrorCode.MOD_FAILED_PRECONDITION: "a mod of its ClientApp has refused",
    ErrorCode.INVALID_FAB: "the app that was submitted is refused there",
    ErrorCode.CLIENT_APP_CRASHED: "its ClientApp was killed or has crashed",
}

_TELLING = {ErrorCode.UNKNOWN, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.MOD_FAILED_PRECONDITION}
"""Codes whose reason says more than the code."""

_RAISED = re.compile(r"<class '(?:[^'.]*\.)*([^'.]*)'>:<'(.*)'>", re.DOTALL)
_OF_OURS = re.compile(r"(UserError|RunFailedError): ")


def explain(error: Error) -> str:
    """Return what has happened to a client whose reply is this error, one clause; it may hold what the client sent."""
    reason = error.reason or ""
    if error.code == ErrorCode.MESSAGE_UNAVAILABLE and NO_MESSAGE in reason:
        return f"its reply is no message{reason.partition(NO_MESSAGE)[2]}"
    words = _WORDS.get(error.code, f"failed with Flower's error {error.code}")
    if error.code in _WORDS and error.code not in _TELLING:
        return words
    return f"{words}: {_shorten(reason) or 'no reason given'}"


def _shorten(reason: str) -> str:
    """Return what a ClientApp has raised without Python's way to say of which class it is."""
    if raised := _RAISED.fullmatch(reason):
        reason = f"{raised[1]}: {raised[2]}"
    return _OF_OURS.sub("", reason, count=1) if _OF_OURS.match(reason) else reason
