import pytest
from flwr.app import Error
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError

from fedsieve.errors import UserError
from fedsieve.failures import _WORDS, explain

RAISED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (ErrorCode.NODE_UNAVAILABLE, "Error: Node Unavailable — The destination node failed", "killed or cut off"),
        (ErrorCode.MESSAGE_UNAVAILABLE, f"are unavailable. {ObjectPullError('5f3c', 'timeout')}", "killed or cut off"),
        (ErrorCode.CLIENT_APP_CRASHED, "ClientApp stopped", "its ClientApp was killed or has crashed"),
        (
            ErrorCode.MESSAGE_UNAVAILABLE,
            f"are unavailable. {ObjectPullError('5f3c', 'it is no message: it is a str')}",
            "its reply is no message: it is a str",
        ),
        (RAISED, f"{UserError}:<'g.npz: y is missing.'>", "failed: g.npz: y is missing."),
        (RAISED, f"{ZeroDivisionError}:<'division by zero'>", "failed: ZeroDivisionError: division by zero"),
        (RAISED, "UserError: g.npz: y is missing.", "failed: g.npz: y is missing."),
        (RAISED, "", "failed: no reason given"),
        (RAISED, None, "failed: no reason given"),
        (ErrorCode.UNKNOWN, "AgentApp failed", "failed: AgentApp failed"),
        (404, "who knows", "failed with Flower's error 404: who knows"),
    ],
)
def test_a_code_is_shown_in_words_and_what_an_app_raises_without_its_class_s_repr(
    code: int, reason: str | None, words: str
):
    assert explain(Error(code, reason)) == words


def test_every_code_that_flower_has_is_in_the_table():
    codes = {value for name, value in vars(ErrorCode).items() if name.isupper()}
    assert codes == set(_WORDS)
