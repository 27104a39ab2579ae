"""The promises as tests: what pytest collects, names and reports."""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import pytest

from fedsieve.testing.promises import PROMISES, BrokenPromiseError, NotTriedError, check
from fedsieve.testing.runs import OWN, Setting
from fedsieve.testing.trial import Trial

_PLAYERS = pytest.StashKey[list[Any]]()

ON_RAY = "equal-on-ray"


def conformance(
    algorithm: str, keys: Mapping[str, Any] | None = None, *, any_value: Collection[str] = ()
) -> Callable[..., None]:
    """Return a test, of as many cases as an algorithm makes promises, for a module of tests.

        test_conformance = conformance("my-algorithm")

    Each case plays tiny runs, of four clients and four rounds, in this process; `equal-on-ray` starts a Ray of two
    workers, which the module's tests share. A case is skipped where it rests on a promise that is broken.

    Args:
        algorithm: its name, in the entry-point group `fedsieve.algorithms`.
        keys: keys of the runs, for instance `{"my-algorithm.step": 0.5, "optimizer": "sgd"}`, but for those in `OWN`.
        any_value: names of arrays of whole numbers of which a reply may hold any; in others the type's greatest number
            has to be rejected.

    Raises:
        ValueError: a key is one of which the tests need their own value.
    """
    if taken := OWN & set(keys or {}):
        raise ValueError(f"conformance: got the key {min(taken)}, of which the tests need their own value.")
    trials: list[Trial] = []

    @pytest.mark.parametrize("promise", [_make_case(algorithm, promise) for promise in PROMISES])
    def test_conformance(
        promise: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        __tracebackhide__ = True
        if not trials:
            trials.append(Trial(Setting(algorithm, keys or {}, tmp_path_factory.mktemp(algorithm)), any_value))
        trials[0].players = lambda: ray_players(request)
        sentence, cause = _judge(trials[0], promise)
        if cause is not None:
            raise BrokenPromiseError(sentence) from cause
        if sentence:
            pytest.fail(sentence, pytrace=False)

    return test_conformance


def _judge(trial: Trial, promise: str) -> tuple[str, BaseException | None]:
    """Return how a promise is broken, "" if it is kept, and what the algorithm has raised; skip if it is not tried."""
    try:
        check(trial, promise)
    except NotTriedError as untried:
        pytest.skip(str(untried))
    except BrokenPromiseError as broken:
        return f"{trial.setting.algorithm} breaks the promise {promise}: {broken}", broken.__cause__
    return "", None


def _make_case(algorithm: str, promise: str) -> Any:
    """Return one case; under pytest-xdist with `--dist loadgroup` those that share runs or a Ray are in one process."""
    group = "ray" if promise == ON_RAY else f"conformance of {algorithm}"
    marks = [pytest.mark.xdist_group(group)] if find_spec("xdist") else []
    return pytest.param(promise, marks=marks, id=promise)


def ray_players(request: pytest.FixtureRequest) -> list[Any]:
    """Return the Ray workers of the module whose test this is, started once."""
    from fedsieve.testing.ray_players import start_players  # Ray takes a second to import

    module = request.node.getparent(pytest.Module)
    if _PLAYERS not in module.stash:
        stack = ExitStack()
        module.addfinalizer(stack.close)
        module.stash[_PLAYERS] = stack.enter_context(start_players())
    return list(module.stash[_PLAYERS])
