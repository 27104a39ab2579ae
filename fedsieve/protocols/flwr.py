"""Flower's own strategies as algorithms, `flwr:FedAdam` and the like: their keys are the strategies' arguments."""

import inspect
import re
from functools import cache
from typing import Any, ClassVar

from pydantic import Field, create_model

from fedsieve.algorithms import Algorithm, AlgorithmConfig, AlgorithmFamily

MEMBERS = (
    "Bulyan",
    "FedAdagrad",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedMedian",
    "FedTrimmedAvg",
    "FedYogi",
    "Krum",
    "MultiKrum",
    "QFedAvg",
)
"""Strategies of Flower's whose clients are FedAvg's."""

WITHOUT_DEFAULT = {"client_learning_rate": 0.01}
"""Arguments that Flower leaves without a default."""


class FlwrConfig(AlgorithmConfig):
    """Keys `flwr.*`: the arguments of the strategy `member`, but for those that a run has keys of its own for."""

    member: ClassVar[str]


@cache
def algorithm_of(member: str) -> Algorithm:
    """Return the algorithm that Flower's strategy `member` is."""
    from flwr.serverapp import strategy  # takes a second to import

    flowers = getattr(strategy, member)
    common = inspect.signature(strategy.FedAvg).parameters
    described = _read_descriptions(inspect.getdoc(flowers) or "")
    fields: dict[str, Any] = {
        name: (argument.annotation, Field(_default(argument), description=described.get(name, "see Flower's docs")))
        for name, argument in inspect.signature(flowers).parameters.items()
        if name not in common and argument.annotation in (int, float, bool)
    }
    config = create_model(f"{member}Config", __base__=FlwrConfig, **fields)
    config.member = member
    return Algorithm(
        summary=f"Flower's strategy {member}",
        config=config,
        strategy="fedsieve.strategies.flwr:Flwr",
        trainer="fedsieve.client.fed_avg:FedAvgTrainer",
        returns_weights=True,
    )


def _default(argument: inspect.Parameter) -> Any:
    return WITHOUT_DEFAULT[argument.name] if argument.default is argument.empty else argument.default


def _read_descriptions(docstring: str) -> dict[str, str]:
    """Return what a NumPy docstring says of each argument."""
    paragraphs = re.findall(r"^(\w+) : [^\n]*\n((?:[ \t]+[^\n]*\n?)+)", docstring, re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".") for name, text in paragraphs}


ALGORITHM = AlgorithmFamily(members=MEMBERS, make=algorithm_of)
