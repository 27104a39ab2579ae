"""A client's data as a file that a device, or the partition given, reads back to the same numbers."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch_geometric.data import Data

from fedsieve.data.image_partitions import ClientImages
from fedsieve.data.own_images import SPLIT
from fedsieve.data.sparse_features import to_scipy
from fedsieve.data.split import MASKS
from fedsieve.inputs import OF_EDGES

if TYPE_CHECKING:
    from fedsieve.data.image_sets import ImageSet


def write_graph(path: Path, graph: Data) -> None:
    """Write a client's graph as `.npz`: what its edges carry, its masks and its classes are among the arrays."""
    arrays: dict[str, Any] = {key: graph[key].numpy() for key in ("edge_index", "y", *OF_EDGES, *MASKS) if key in graph}
    arrays["num_classes"] = np.array(graph.num_classes)
    if names := graph.to_dict().get("class_names", ()):
        arrays["class_names"] = np.array(names)
    if graph.x.is_sparse:
        rows = to_scipy(graph.x)
        arrays |= {"x_data": rows.data, "x_indices": rows.indices, "x_indptr": rows.indptr, "x_shape": rows.shape}
    else:
        arrays["x"] = graph.x.numpy()
    np.savez_compressed(path, **arrays)


def write_images(path: Path, data: "ImageSet", part: ClientImages) -> None:
    """Write a client's images as `.parquet`, PNG, with the classes' names and what each image is for."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import ClassLabel, Features, Value
    from datasets import Image as ImageFeature

    names = [*data.names, *map(str, range(len(data.names), data.num_classes))]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=names), SPLIT: Value("string")})
    uses = {"train": part.train, "val": part.val, "test": part.test}
    rows = [
        {"image": {"bytes": _encode(data.images[at].numpy()), "path": None}, "label": int(data.labels[at]), SPLIT: use}
        for use, images in uses.items()
        for at in images
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), path)


def _encode(pixels: Any) -> bytes:
    """Return an image, C x H x W, as PNG, which loses nothing."""
    written = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(written, "PNG")
    return written.getvalue()
