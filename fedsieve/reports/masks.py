"""Figures of the clients' masks: zeros by layer and client, and how far masks overlap."""

import numpy as np

from fedsieve.contract import NDArray
from fedsieve.errors import make_printable
from fedsieve.reports.figure import Drawn, Missing, Part, Table
from fedsieve.reports.heat import POINTED, draw_heat_map
from fedsieve.reports.kept_weights import KeptWeights, measure_kept_weights
from fedsieve.reports.words import format_percent
from fedsieve.runs.reading import RunRecord

LAYERS, OVERLAP = "Zeros by layer and client", "Overlap of the clients' masks"

LONG = 20
"""Letters of a layer's name on its axis; the last ones stay."""

MOST_LAYERS = 24
"""Layers that are drawn."""


def draw_masks(run: RunRecord) -> list[Part]:
    """Return both figures, from the personal models in the run's folder."""
    why = _explain_absence(run)
    weights = None if why else measure_kept_weights(run.folder)
    if weights is None or not weights.layers:
        why = why or (
            "The folder holds no personal models, from which this is drawn: a deployment leaves models and masks on "
            "the devices, and a run that was killed has not exported them; the server knows only their share of zeros."
        )
        return [Missing(LAYERS, why), Missing(OVERLAP, why)]
    return [_draw_layers(weights), _draw_overlap(weights)]


def _explain_absence(run: RunRecord) -> str:
    if not run.rounds:
        return "No round was finished, so there are no masks."
    if np.isnan(run.by_client["mask_sparsity"]).all():
        return f"{run.summary['algorithm']} has no masks."
    return ""


def _draw_layers(weights: KeptWeights) -> Drawn:
    layers, zeros = weights.layers[:MOST_LAYERS], 100 * weights.zeros.T[:MOST_LAYERS]
    layers = [make_printable(layer) for layer in layers]
    names = [str(client) for client in weights.clients]
    figure, zones = draw_heat_map(
        zeros,
        [_shorten(layer) for layer in layers],
        names,
        axis_labels=("client", ""),
        bar="zeros, %",
        describe=lambda row, column: (
            f"client {names[column]}, {layers[row]}: {format_percent(zeros[row, column])} zeros"
        ),
        format_value=lambda value: f"{value:.0f}",
        bounds=(0, 100),
    )
    few = (
        f" The first {len(layers)} of {len(weights.layers)} layers are shown."
        if len(layers) < len(weights.layers)
        else ""
    )
    rows = [[name, *(format_percent(value) for value in zeros[:, at])] for at, name in enumerate(names)]
    table = Table(["client", *layers], rows)
    few = _note_omitted(weights) + few
    caption = f"Share of zeros in each weight matrix of the personal models after the last training.{few}"
    return Drawn("layers", LAYERS, caption, figure, zones=zones, table=table)


def _draw_overlap(weights: KeptWeights) -> Part:
    if len(weights.clients) < 2:
        return Missing(OVERLAP, "There is only one client's model: overlap needs two.")
    if np.isnan(weights.shared).all():
        return Missing(OVERLAP, "No weight is kept by any client.")
    alike = bool(np.nanmin(weights.shared) == 1.0)
    values = 100 * (weights.agreeing if alike else weights.shared)
    names = [str(client) for client in weights.clients]
    mean = float(np.nanmean(values[~np.eye(len(values), dtype=bool)]))
    figure, zones = draw_heat_map(
        values,
        names,
        names,
        axis_labels=("client", "client"),
        bar="kept weights of one sign, %" if alike else "kept by both of those kept by either, %",
        describe=lambda row, column: f"clients {names[row]} and {names[column]}: {format_percent(values[row, column])}",
        format_value=lambda value: f"{value:.0f}",
        bounds=_choose_bounds(values),
        square=True,
    )
    table = None
    if len(names) <= POINTED:
        table = Table(
            ["client", *names], [[name, *map(format_percent, row)] for name, row in zip(names, values, strict=True)]
        )
    caption = (
        "All clients keep the same weights, so what can differ is their signs: the share of the kept weights whose "
        "signs agree in two clients' models."
        if alike
        else "Of the weights that at least one of two clients keeps, the share that both keep (Jaccard index)."
    )
    caption += f" Mean over pairs: {format_percent(mean)}.{_note_omitted(weights)}"
    return Drawn("overlap", OVERLAP, caption, figure, zones=zones, table=table)


def _choose_bounds(values: NDArray) -> tuple[float, float]:
    """Return bounds of the shades that let differences between clients be seen; the diagonal is 100 and beyond them."""
    between = values[~np.eye(len(values), dtype=bool)]
    return float(np.nanmin(between)), float(np.nanmax(between))


def _shorten(layer: str) -> str:
    return layer if len(layer) <= LONG else f"…{layer[-LONG + 1 :]}"


def _note_omitted(weights: KeptWeights) -> str:
    return f" {len(weights.clients)} of {weights.of:,} clients are shown." if len(weights.clients) < weights.of else ""
