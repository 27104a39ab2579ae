"""One sentence on a file or folder that is there and cannot be read: what it is, and what to give instead."""

from pathlib import Path

from fedsieve.errors import UserError

IMAGES = "give folder/class/image.png, folder/train/class/image.png, a folder of .parquet files or one .parquet file"
GRAPHS = "a graph is a .npz or .pt file"
INSTEAD = {
    ".csv": "save a graph's arrays with numpy.savez, and images as folder/class/image.png or .parquet",
    ".tsv": "save a graph's arrays with numpy.savez, and images as folder/class/image.png or .parquet",
    ".npy": "save x, edge_index and y together with numpy.savez",
    ".mat": "save x, edge_index and y with numpy.savez",
    ".pkl": "a pickle can run anything; save x, edge_index and y with numpy.savez",
    ".pickle": "a pickle can run anything; save x, edge_index and y with numpy.savez",
    ".gpickle": "a pickle can run anything; make it a PyG Data with from_networkx and torch.save it as .pt",
    ".zip": "unpack it first",
    ".tar": "unpack it first",
    ".gz": "unpack it first",
    ".tgz": "unpack it first",
    ".arrow": "write it with datasets' to_parquet",
    ".pth": "rename it to .pt if it holds a PyG Data",
}


def explain_unread(path: Path) -> UserError:
    """Return what to say of a file whose name ends in nothing that is read."""
    ending = f"{path.suffix.lower()} files are not read" if path.suffix else "its name ends in nothing that is read"
    instead = f" ({INSTEAD[path.suffix.lower()]})" if path.suffix.lower() in INSTEAD else ""
    return UserError(
        f"dataset = {str(path)!r}: {ending}{instead}; allowed are a graph that ends in .npz or .pt, and images: a "
        ".parquet file or a folder."
    )


def explain_no_images(folder: Path) -> UserError:
    """Return what to say of a folder without images and without one graph."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return UserError(f"{folder}: there is no parquet file and no image; {_hint(folder, entries)}.")


def explain_flat(folder: Path) -> UserError:
    """Return what to say of images for training that no folder gives a class."""
    return UserError(
        f"{folder}: its images lie in no folder of a class; give folder/class/image.png or "
        "folder/train/class/image.png, or a .parquet file with a column of labels."
    )


def _hint(folder: Path, entries: list[Path]) -> str:
    names = [entry.name for entry in entries]
    if "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= set(names):
        return "it was written by datasets' save_to_disk: write train.parquet and test.parquet with its to_parquet"
    graphs = [file for place in (folder, folder / "processed") for file in sorted(place.glob("*"))
              if file.suffix.lower() in (".npz", ".pt") and not file.name.startswith("pre_")]  # fmt: skip
    if graphs:
        apart = ", or partition = 'given' if each file is a client" * (graphs[0].parent == folder)
        return f"it holds {graphs[0].relative_to(folder)}: give the path of that file if it is the graph{apart}"
    if any(name.startswith("ind.") for name in names):
        return "it holds Planetoid's raw files: name cora, citeseer or pubmed, or give PyG's processed/data.pt"
    held = f"it holds {', '.join(names[:3])}{', ...' * (len(names) > 3)}; " if names else "it is empty; "
    return f"{held}{IMAGES}; {GRAPHS}"
