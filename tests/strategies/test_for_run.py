"""What of a run's keys reaches a strategy's constructor."""

from typing import Any

import pytest
import torch
from torch import nn

from fedsieve.algorithms import AlgorithmConfig, load_algorithm
from fedsieve.contract import Setting, Shape
from fedsieve.inputs import Graph
from fedsieve.models.gcn import GCN
from fedsieve.strategies.fed_avg import FedAvg
from fedsieve.strategies.fed_pub import FedPub


class Keys(AlgorithmConfig):
    step: float = 0.5
    decay: float = 0.25
    tau: float = 7.0
    lam: float = 0.1


class Stepping(FedAvg):
    def __init__(self, *, step: float = 1.0, **flower: Any) -> None:
        super().__init__(**flower)
        self.step = step


class Decaying(Stepping):
    def __init__(self, *, decay: float = 1.0, **others: Any) -> None:
        super().__init__(**others)
        self.decay = decay


class Fixed(Stepping):
    def __init__(self, *, decay: float = 1.0, fraction_train: float = 1.0) -> None:
        super().__init__(step=0.125, fraction_train=fraction_train)
        self.decay = decay


class Similar(FedPub):
    def __init__(self, *, step: float = 1.0, **others: Any) -> None:
        super().__init__(**others)
        self.step = step


def network() -> nn.Module:
    return GCN(3, 2, hidden_dim=4)


def proxy() -> Graph:
    return Graph(torch.ones(2, 3), torch.empty(2, 0, dtype=torch.int64))


SETTING = Setting(
    seed=3, fraction_train=0.75, shape=Shape((3,), 2), network=network, ones=lambda dtype: None, proxy=proxy
)


def test_a_strategy_gets_the_keys_that_it_names_and_no_others():
    server = Stepping.for_run(SETTING, Keys())
    assert (server.step, server.fraction_train) == (0.5, 0.75)
    assert FedAvg.for_run(SETTING, Keys()).fraction_train == 0.75


def test_a_subclass_gets_the_keys_of_its_base_too():
    server = Decaying.for_run(SETTING, Keys())
    assert (server.decay, server.step, server.fraction_train) == (0.25, 0.5, 0.75)
    similar = Similar.for_run(SETTING, Keys())
    assert (similar.step, similar.tau, similar.embedding_dim) == (0.5, 7.0, 4)


def test_a_subclass_that_fixes_an_argument_of_its_base_gets_no_key_for_it():
    server = Fixed.for_run(SETTING, Keys())
    assert (server.decay, server.step, server.fraction_train) == (0.25, 0.125, 0.75)


@pytest.mark.parametrize("name", ["fed-mask", "fed-pm"])
def test_a_built_in_strategy_gets_its_own_keys(name: str):
    algorithm = load_algorithm(name)
    server: Any = algorithm.load_strategy().for_run(SETTING, algorithm.config(frozen_gain=2.0))
    assert (server.seed, server.frozen_gain, server.fraction_train) == (3, 2.0, 0.75)
    assert isinstance(server.network, GCN)
