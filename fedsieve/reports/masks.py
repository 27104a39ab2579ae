"""Figures of the clients' masks: zeros by layer and client, and how far masks overlap."""

import numpy as np

from fedsieve.contract import NDArray
from fedsieve.errors import printable
from fedsieve.reports.figure import Drawn, Missing, Part, Table
from fedsieve.reports.heat import POINTED, heat_map
from fedsieve.reports.kept_weights import KeptWeights, kept_weights
from fedsieve.reports.words import percent
from fedsieve.runs.reading import RunRecord

LAYERS, OVERLAP = "Zeros by layer and client", "Overlap of the clients' masks"

LONG = 20
"""Letters of a layer's name on its axis; the last ones stay."""

MOST_LAYERS = 24
"""Layers that are drawn."""


def masks(run: RunRecord) -> list[Part]:
    """Return both figures, from the personal models in the run's folder."""
    why = _nothing(run)
    found = None if why else kept_weights(run.folder)
    if found is None or not found.layers:
        why = why or (
            "The folder holds no personal models, from which this is drawn: a deployment leaves models and masks on "
            "the devices, and a run that was killed has not exported them; of their zeros the server is told the share."
        )
        return [Missing(LAYERS, why), Missing(OVERLAP, why)]
    return [_layers(found), _overlap(found)]


def _nothing(run: RunRecord) -> str:
    if not run.rounds:
        return "No round was finished, so there are no masks."
    if np.isnan(run.by_client["mask_sparsity"]).all():
        return f"{run.summary['algorithm']} has no masks."
    return ""


def _layers(found: KeptWeights) -> Drawn:
    layers, zeros = found.layers[:MOST_LAYERS], 100 * found.zeros.T[:MOST_LAYERS]
    layers = [printable(layer) for layer in layers]
    names = [str(client) for client in found.clients]
    figure, zones = heat_map(
        zeros,
        [_cut(layer) for layer in layers],
        names,
        axes_told=("client", ""),
        bar="zeros, %",
        told=lambda row, column: f"client {names[column]}, {layers[row]}: {percent(zeros[row, column])} zeros",
        written=lambda value: f"{value:.0f}",
        bounds=(0, 100),
    )
    few = (
        f" The first {len(layers)} of {len(found.layers)} layers are shown." if len(layers) < len(found.layers) else ""
    )
    rows = [[name, *(percent(value) for value in zeros[:, at])] for at, name in enumerate(names)]
    table = Table(["client", *layers], rows)
    caption = f"Share of zeros in each weight matrix of the personal models after the last training.{_few(found)}{few}"
    return Drawn("layers", LAYERS, caption, figure, zones=zones, table=table)


def _overlap(found: KeptWeights) -> Part:
    if len(found.clients) < 2:
        return Missing(OVERLAP, "There is only one client's model: overlap needs two.")
    if np.isnan(found.shared).all():
        return Missing(OVERLAP, "No weight is kept by any client.")
    alike = bool(np.nanmin(found.shared) == 1.0)
    values = 100 * (found.agreeing if alike else found.shared)
    names = [str(client) for client in found.clients]
    mean = float(np.nanmean(values[~np.eye(len(values), dtype=bool)]))
    figure, zones = heat_map(
        values,
        names,
        names,
        axes_told=("client", "client"),
        bar="kept weights of one sign, %" if alike else "kept by both of those kept by either, %",
        told=lambda row, column: f"clients {names[row]} and {names[column]}: {percent(values[row, column])}",
        written=lambda value: f"{value:.0f}",
        bounds=_bounds(values),
        square=True,
    )
    table = None
    if len(names) <= POINTED:
        table = Table(["client", *names], [[name, *map(percent, row)] for name, row in zip(names, values, strict=True)])
    caption = (
        "All clients keep the same weights, so what can differ is their signs: the share of the kept weights whose "
        "signs agree in two clients' models."
        if alike
        else "Of the weights that at least one of two clients keeps, the share that both keep (Jaccard index)."
    )
    caption += f" Mean over pairs: {percent(mean)}.{_few(found)}"
    return Drawn("overlap", OVERLAP, caption, figure, zones=zones, table=table)


def _bounds(values: NDArray) -> tuple[float, float]:
    """Return bounds of the shades that let differences between clients be seen; the diagonal is 100 and beyond them."""
    between = values[~np.eye(len(values), dtype=bool)]
    return float(np.nanmin(between)), float(np.nanmax(between))


def _cut(layer: str) -> str:
    return layer if len(layer) <= LONG else f"…{layer[-LONG + 1 :]}"


def _few(found: KeptWeights) -> str:
    return f" {len(found.clients)} of {found.of:,} clients are shown." if len(found.clients) < found.of else ""
