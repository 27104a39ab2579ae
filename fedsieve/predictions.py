"""What a trained model says of other data, as a table."""

import csv
import io
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fedsieve.client.app.image_task import EVALUATED_AT_ONCE, batch_sizes
from fedsieve.data.image_sets import scale
from fedsieve.data.own_images import Columns
from fedsieve.data.unseen import UNKNOWN, Unseen, load_unseen
from fedsieve.errors import UserError, one_line
from fedsieve.files import write_whole
from fedsieve.inputs import Graph, run_network
from fedsieve.models.trial import smallest_batch
from fedsieve.trained import Trained, load_trained

_log = logging.getLogger("fedsieve")


@dataclass(frozen=True)
class Prediction:
    """How many examples were predicted, how many of them have a label, and the share of these that is right."""

    noun: str
    count: int
    labelled: int
    accuracy: float | None


def predict(
    folder: Path, client: int | str | None, source: str, out: Path, *, force: bool, all_classes: bool
) -> Prediction:
    """Write a line for each example of `source` to the CSV file `out`, predicted by a model of the run in `folder`.

    The columns are `node` or `image`, `predicted`, its `probability`, `label` where any example has one and, with
    `all_classes`, the probability of each class under `p(NAME)`.

    Raises:
        UserError: `out` is there already and not to be replaced, or cannot be written; see `load_model`, `load_unseen`.
    """
    if out.exists() and not force:
        raise UserError(f"out: got {out}, which exists, allowed: another name, or --force to replace it.")
    rows, prediction = tabulate_predictions(folder, client, source, all_classes=all_classes)
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    try:
        write_whole(out, lines.getvalue().encode())
    except OSError as error:
        raise UserError(f"out: {out} cannot be written: {error.strerror}.") from error
    return prediction


def tabulate_predictions(
    folder: Path, client: int | str | None, source: str, *, all_classes: bool
) -> tuple[list[list[str]], Prediction]:
    """Return the lines that `predict` writes, the names of the columns first, and what they come to.

    Raises:
        UserError: see `load_model`, `load_unseen`.
    """
    trained = load_trained(folder, client)
    data = load_unseen(
        source,
        trained.shape.input,
        trained.classes,
        named=trained.named,
        undirected=trained.run.undirected,
        columns=Columns(trained.run.image_column, trained.run.label_column),
    )
    if data.edge_index is not None:
        data = _fit_edges(source, data, trained.shape.edge_dim)
    probabilities = _compute_probabilities(trained, data)
    noun = "image" if data.edge_index is None else "node"
    rows = _make_rows(noun, data, probabilities, trained.classes, all_classes)
    known = data.labels > UNKNOWN
    hits = probabilities.argmax(1)[known] == data.labels[known]
    return rows, Prediction(noun, len(known), len(hits), float(hits.double().mean()) if len(hits) else None)


def _fit_edges(source: str, data: Unseen, edge_dim: int) -> Unseen:
    """Return a graph whose edges carry what those in training did: attributes that they did not have are dropped."""
    given = data.of_edges["edge_attr"].shape[1] if "edge_attr" in data.of_edges else 0
    if edge_dim not in (0, given):
        what = f"{given} numbers" if given else "none"
        raise UserError(f"{source}: edge_attr has {what}, allowed: {edge_dim} an edge, which the run's models take.")
    if edge_dim == 0 < given:
        _log.warning("%s: edge_attr ignored: the run's data had none", source)
        return replace(data, of_edges={name: value for name, value in data.of_edges.items() if name != "edge_attr"})
    return data


def _compute_probabilities(trained: Trained, data: Unseen) -> Tensor:
    """Return the softmax of the logits, N x classes."""
    try:
        logits = _compute_logits(trained.network, data)
        if logits.shape != (len(data.examples), trained.shape.num_classes):
            raise ValueError(f"its logits are {' x '.join(map(str, logits.shape))}")
    except Exception as error:
        if ":" not in trained.run.model:
            raise
        noun = "image" if data.edge_index is None else "node"
        given = f"{len(data.examples)} {noun}{'s' if len(data.examples) > 1 else ''}"
        fault = f"{type(error).__name__}: {one_line(error).removesuffix('.')}"
        raise UserError(f"model: got {trained.run.model!r}, but it fails for {given}: {fault}.") from error
    return logits.softmax(1)


@torch.no_grad()
def _compute_logits(network: nn.Module, data: Unseen) -> Tensor:
    if data.edge_index is not None:
        logits: Tensor = run_network(network, Graph(data.examples, data.edge_index, **data.of_edges))
        return logits
    sizes = batch_sizes(len(data.examples), EVALUATED_AT_ONCE, smallest_batch(network).evaluation)
    return torch.cat([network(scale(part)) for part in torch.split(data.examples, sizes)])


def _make_rows(
    noun: str, data: Unseen, probabilities: Tensor, classes: tuple[str, ...], all_classes: bool
) -> list[list[str]]:
    labelled = bool((data.labels > UNKNOWN).any())
    each = [f"p({name})" for name in classes] if all_classes else []
    made = [[noun, "predicted", "probability", *(["label"] if labelled else []), *each]]
    best = probabilities.max(1)
    rows = zip(data.places, best.indices.tolist(), best.values.tolist(), data.labels.tolist(), strict=True)
    for number, (place, predicted, probability, label) in enumerate(rows):
        row = [place, classes[predicted], f"{probability:.6f}"]
        if labelled:
            row.append(classes[label] if label > UNKNOWN else "")
        if all_classes:
            row += [f"{value:.6f}" for value in probabilities[number].tolist()]
        made.append(row)
    return made
