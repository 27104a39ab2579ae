"""The ClientApp."""

import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_app.task import INPUT_SHAPE, Net, load_data
from digits_app.task import test as test_fn
from digits_app.task import train as train_fn
from fedsieve.clientapp import load_fed_pub, train_fed_pub

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the model on local data."""
    model = Net()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    trainloader, _ = _data(context)
    lr, epochs = context.run_config["learning-rate"], context.run_config["local-epochs"]

    def fit(net: torch.nn.Module) -> dict[str, float]:
        return {"train_loss": train_fn(net, trainloader, epochs, lr, device)}

    return train_fed_pub(msg, context, model, fit, INPUT_SHAPE, len(trainloader.dataset))


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Evaluate the model on local data."""
    model = Net()
    load_fed_pub(msg, model, context)
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    _, testloader = _data(context)
    loss, accuracy = test_fn(model, testloader, device)
    metrics = {"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(testloader.dataset)}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=msg)


def _data(context: Context):
    node, config = context.node_config, context.run_config
    return load_data(node["partition-id"], node["num-partitions"], config["batch-size"])
