"""Every strategy under Flower's own `start`, in a ServerApp that is not FedSieve's."""

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import strategy as flowers
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, Result
from torch import nn

from fedsieve import strategies
from fedsieve.clientapp import load_fed_pub, load_hide_n_seek, train_fed_pub, train_hide_n_seek
from fedsieve.masks.attach import weights
from fedsieve.protocols.fed_pub import EMBEDDING
from fedsieve.simulations.inline import InlineGrid
from fedsieve.strategy import FederatedStrategy

NODES = 3
SHAPE = (1, 4, 4)


class Net(nn.Module):
    """Has buffers, one of them of whole numbers, as a stock app's network does."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.hidden = nn.Linear(16, 8)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(torch.relu(self.hidden(self.norm(x).flatten(1))))
        return logits


def net(seed: int = 0) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net()


def data(client: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.RandomState(client)
    labels = random.randint(0, 2, 12) + client % 2
    images = random.standard_normal((12, *SHAPE)) + labels[:, None, None, None]
    return torch.tensor(images, dtype=torch.float32), torch.tensor(labels)


def fit(client: int, steps: int = 5) -> Any:
    def train(model: nn.Module) -> dict[str, float]:
        images, labels = data(client)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        model.train()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        return {"train_loss": loss.item()}

    return train


def accuracy(model: nn.Module, client: int) -> float:
    images, labels = data(client)
    return float((model.eval()(images).argmax(1) == labels).float().mean())


def stock_app(seen: dict[int, list[dict[str, torch.Tensor]]] | None = None) -> ClientApp:
    """Return the ClientApp of Flower's quickstart, in miniature."""
    app = ClientApp()

    def load(message: Message) -> Net:
        model = net()
        state = message.content["arrays"].to_torch_state_dict()
        model.load_state_dict(state)
        return model

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client, model = int(context.node_config["partition-id"]), load(message)
        if seen is not None:
            seen.setdefault(client, []).append({name: t.clone() for name, t in model.state_dict().items()})
        metrics = fit(client)(model) | {"num-examples": 10 + client}
        content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)}
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        metrics = MetricRecord({"eval_acc": accuracy(load(message), client), "num-examples": 12})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def fed_pub_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        return train_fed_pub(message, context, net(), fit(client), SHAPE, 12)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        model = net()
        load_fed_pub(message, model, context)
        metrics = MetricRecord(
            {"eval_acc": accuracy(model, int(context.node_config["partition-id"])), "num-examples": 12}
        )
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def start(strategy: Any, app: ClientApp, rounds: int = 3, initial: ArrayRecord | None = None) -> Result:
    grid = InlineGrid(app, NODES, {})
    return strategy.start(grid, ArrayRecord(net().state_dict()) if initial is None else initial, num_rounds=rounds)


def arrays_of(result: Result) -> dict[str, np.ndarray]:
    assert result.arrays is not None
    return {name: array.numpy() for name, array in result.arrays.items()}


@pytest.mark.parametrize("name", ["FedAvg", "FedProx"])
def test_fed_avg_is_flowers_own(name: str):
    ours = arrays_of(start(getattr(strategies, name)(), stock_app()))
    theirs = arrays_of(start(flowers.FedAvg(), stock_app()))
    assert ours.keys() == theirs.keys()
    for key, array in ours.items():
        assert array == pytest.approx(theirs[key], abs=1e-6)
    assert ours["norm.num_batches_tracked"].dtype == np.int64, "whole numbers stay whole: Flower's become floats"


@pytest.mark.parametrize("name", ["FedAvg", "FedProx"])
def test_flowers_privacy_wrapper_trains_the_model_that_it_has_noised(name: str):
    seen: dict[int, list[dict[str, torch.Tensor]]] = {}
    wrapped = DifferentialPrivacyServerSideFixedClipping(getattr(strategies, name)(), 1.0, 0.5, NODES)
    initial = ArrayRecord({name: Array(p.detach().numpy()) for name, p in net().named_parameters()})
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client, model = int(context.node_config["partition-id"]), net()
        sent = message.content["arrays"].to_torch_state_dict()
        seen.setdefault(client, []).append(sent)
        model.load_state_dict(sent, strict=False)
        fit(client)(model)
        record = ArrayRecord({name: Array(p.detach().numpy()) for name, p in model.named_parameters()})
        content = RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": 12})})
        return Message(content, reply_to=message)

    wrapped.strategy.fraction_evaluate = 0.0
    result = start(wrapped, app, 2, initial)
    changes = [seen[0][1][name] - seen[0][0][name] for name in seen[0][0]]
    assert torch.cat([change.flatten() for change in changes]).norm() > 0.5, "clipping alone would stay below"
    assert all(torch.equal(seen[0][1][name], seen[2][1][name]) for name in seen[0][1])
    assert arrays_of(result)["hidden.weight"].shape == (8, 16)


def test_fed_prox_tells_clients_mu_as_flowers_does():
    sent = []
    for strategy in (strategies.FedProx(proximal_mu=0.3), flowers.FedProx(proximal_mu=0.3)):
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            sent.append(message.content["config"]["proximal-mu"])
            content = {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})}
            return Message(RecordDict(content), reply_to=message)

        strategy.fraction_evaluate = 0.0
        start(strategy, app, 1)
    assert sent == [0.3] * 2 * NODES


@pytest.mark.parametrize("strategy", [strategies.FedAvg(), strategies.FedPub()])
def test_a_strategy_that_is_started_again_begins_again(strategy: FederatedStrategy):
    app = stock_app() if isinstance(strategy, strategies.FedAvg) else fed_pub_app()
    first, second = (arrays_of(start(strategy, app, 2)) for _ in range(2))
    for name, array in first.items():
        assert np.array_equal(array, second[name])


def test_fed_pub_sends_each_node_its_own_model_and_masks_stay():
    strategy = strategies.FedPub(tau=10.0)
    result = start(strategy, fed_pub_app(), 4)
    models = [strategy.broadcast(node, True)["hidden.weight"] for node in (2, 3, 4)]
    assert not np.array_equal(models[0], models[1])
    clients, similarity = strategy.similarity_matrix() or ([], np.zeros(0))
    assert list(clients) == [2, 3, 4]
    assert similarity.diagonal() == pytest.approx(np.ones(3))
    assert EMBEDDING not in arrays_of(result)
    sparsity = [metrics["mask-sparsity"] for metrics in result.train_metrics_clientapp.values()]
    assert sparsity[-1] > sparsity[0]  # so each node continues from its own last mask
    assert result.evaluate_metrics_clientapp[4]["eval_acc"] > 0.6


def test_the_proximal_step_by_hand():
    # one step of SGD with lr 0.5 and no gradient on a mask of ones: 1 - 0.5 · 0.8 · (mean|W| / |W|)^0 = 0.6
    kept: dict[str, torch.Tensor] = {}

    def train(model: nn.Module) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        loss = sum(parameter.sum() * 0 for parameter in model.parameters())
        loss.backward()
        optimizer.step()

    app = ClientApp()

    @app.train()
    def answer(message: Message, context: Context) -> Message:
        reply = train_fed_pub(message, context, net(), train, SHAPE, 12, prox=0.8, prox_power=0.0, lambda2=0.0)
        kept.update(context.state["fed-pub.masks"].to_torch_state_dict())
        return reply

    start(strategies.FedPub(fraction_evaluate=0.0), app, 1)
    assert sorted(kept) == ["classifier.weight", "hidden.weight"]
    assert kept["hidden.weight"].flatten().tolist() == pytest.approx([0.6] * 128)


def test_hide_n_seek_in_a_stock_app_sends_signs_and_keeps_the_keep_mask():
    sent: list[set[str]] = []
    app = ClientApp()

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(16, 32, bias=False)
            self.classifier = nn.Linear(32, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.classifier(torch.relu(self.hidden(x.flatten(1))))
            return logits

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client, model = int(context.node_config["partition-id"]), Plain()
        sent.append(set(message.content["arrays"]))
        reply = train_hide_n_seek(message, context, model, fit(client, 20), 12)
        values = {name: parameter.detach() for name, parameter in weights(model).items()}
        assert 0.4 < float((values["hidden.weight"] != 0).float().mean()) < 0.6
        assert len(values["hidden.weight"].abs().unique()) == 2  # 0, and the one size of all frozen weights
        assert set(reply.content["arrays"]) == {"signs"}
        return reply

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        model = Plain()
        load_hide_n_seek(message, context, model)
        client = int(context.node_config["partition-id"])
        metrics = MetricRecord({"eval_acc": accuracy(model, client), "num-examples": 12})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    strategy = strategies.HideNseek(Plain(), torch.ones(1, *SHAPE), density=0.5)
    result = start(strategy, app, 3)
    assert sent[:NODES] == [{"mean", "keep"}] * NODES
    assert sent[NODES:] == [{"mean"}] * (2 * NODES), "nodes have acknowledged the keep-mask"
    assert arrays_of(result)["hidden.weight"].shape == (32, 16)
    assert result.evaluate_metrics_clientapp[3]["eval_acc"] > 0.4


def test_a_bad_reply_is_rejected_and_the_others_count(caplog: pytest.LogCaptureFixture):
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        arrays = {name: np.asarray(array.numpy() + 1) for name, array in message.content["arrays"].items()}
        if client == 1:
            arrays["classifier.bias"] = np.full(3, np.nan, np.float32)
        record = ArrayRecord({name: Array(array) for name, array in arrays.items()})
        metrics = {"num-examples": -1 if client == 2 else 5}
        return Message(RecordDict({"arrays": record, "metrics": MetricRecord(metrics)}), reply_to=message)

    before = net().state_dict()["classifier.bias"].numpy()
    result = start(strategies.FedAvg(fraction_evaluate=0.0), app, 1)
    assert arrays_of(result)["classifier.bias"] == pytest.approx(before + 1)
    assert "node 3 is rejected: array classifier.bias holds NaN or infinite values" in caplog.text
    assert "node 4 is rejected: its metric num-examples is -1, not a count" in caplog.text


@pytest.mark.parametrize("name", strategies.__all__)
def test_a_strategy_needs_nothing_of_a_run(name: str):
    needs = {"HideNseek": (net(), torch.ones(1, *SHAPE)), "FedMask": (net(),), "FedPM": (net(),)}
    strategy = getattr(strategies, name)(*needs.get(name, ()), fraction_train=0.5, min_train_nodes=1)
    assert isinstance(strategy, FederatedStrategy)
    assert (strategy.fraction_train, strategy.min_train_nodes, strategy.min_available_nodes) == (0.5, 1, 2)
