"""Which clients are alike: their order and their communities, from how similar the server found their models."""

from dataclasses import dataclass

import numpy as np

from fedsieve.contract import NDArray

CLEAR = 0.25
"""Mean silhouette below which a partition counts as none (Kaufman and Rousseeuw 1990, table 4: no structure)."""

MOST = 12
"""Communities that are tried."""


@dataclass(frozen=True)
class Grouping:
    """How the rows of a similarity matrix belong together.

    Attributes:
        order: the rows as the dendrogram puts them, so that similar ones are neighbours and communities in one piece.
        communities: rows of each, in that order; empty where nothing falls into communities.
        silhouette: mean silhouette of that partition, -1 to 1, 0 where there is none.
    """

    order: list[int]
    communities: list[list[int]]
    silhouette: float


def group_rows(similarity: NDArray) -> Grouping:
    """Group the rows of a matrix of cosines, K x K.

    Average linkage over the distances 1 - s_ij; of its cuts into 2 to `MOST` communities the one with the best mean
    silhouette (Rousseeuw 1987), or none if that is below `CLEAR`.
    """
    count = len(similarity)
    if count < 3:
        return Grouping(list(range(count)), [], 0.0)
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    distance = np.maximum(0.0, 1.0 - (similarity + similarity.T) / 2).astype(np.float64)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=count <= 300)
    order = leaves_list(tree).tolist()
    best, labels = CLEAR, [0] * count
    for wanted in range(2, min(MOST, count - 1) + 1):
        cut = fcluster(tree, wanted, "maxclust").tolist()
        if 1 < len(set(cut)) < count:
            score = float(silhouette_score(distance, cut, metric="precomputed"))
            if score > best:
                best, labels = score, cut
    if not any(labels):
        return Grouping(order, [], 0.0)
    communities: dict[int, list[int]] = {}
    for row in order:
        communities.setdefault(labels[row], []).append(row)
    return Grouping(order, list(communities.values()), best)
