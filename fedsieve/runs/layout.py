"""Every file and folder of a run, named once."""

import re
from dataclasses import dataclass
from pathlib import Path

CONFIG, SUMMARY, REPORT = "config.toml", "summary.json", "report.html"
ROUNDS, TIMINGS, CLIENTS = "rounds.jsonl", "timings.jsonl", "clients.csv"

RECORDS = (ROUNDS, TIMINGS, CLIENTS)
"""Files that grow by each round; the others are written whole."""

MODELS, CHECKPOINT = "model", "checkpoint"

_CLIENT_MODEL = re.compile(r"client-(\d+)\.safetensors")
_CHECKPOINT_FILE = re.compile(r"-(\d+)\.(?:safetensors|json)(?:\.partial)?$")


@dataclass(frozen=True)
class RunLayout:
    """The paths of what a run leaves in its folder, whether they are there or not."""

    folder: Path

    @property
    def config(self) -> Path:
        """Every key of the run; the file whose presence makes a folder that of a run."""
        return self.folder / CONFIG

    @property
    def data(self) -> Path:
        """The fingerprint of a user's own data."""
        return self.folder / "data.json"

    @property
    def devices(self) -> Path:
        """What the run's record says of devices' own data, from its beginning."""
        return self.folder / "devices.json"

    @property
    def rounds(self) -> Path:
        """A JSON line a round: its means."""
        return self.folder / ROUNDS

    @property
    def timings(self) -> Path:
        """A JSON line a round: what it took."""
        return self.folder / TIMINGS

    @property
    def clients(self) -> Path:
        """A line for each client in each round."""
        return self.folder / CLIENTS

    @property
    def summary(self) -> Path:
        """What the run has reached; written when it ends."""
        return self.folder / SUMMARY

    @property
    def similarity(self) -> Path:
        """How alike the server found its clients' models, where it compares them."""
        return self.folder / "similarity.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / CHECKPOINT

    @property
    def models(self) -> Path:
        """The folder of the trained models."""
        return self.folder / MODELS

    def model_of(self, client: int | None) -> Path:
        """Return the file of a client's trained model; None: of the one that all share."""
        return self.models / f"{'global' if client is None else f'client-{client}'}.safetensors"

    def clients_with_models(self) -> list[int]:
        """Return the sorted ids of the clients whose models are there."""
        files = self.models.iterdir() if self.models.is_dir() else ()
        return sorted(int(named[1]) for file in files if (named := _CLIENT_MODEL.fullmatch(file.name)))

    @property
    def report(self) -> Path:
        """The run's page."""
        return self.folder / REPORT

    @property
    def figures(self) -> Path:
        """The folder of the page's figures as PNG files."""
        return self.folder / "figures"

    @property
    def trackers(self) -> Path:
        """What each tracker calls the run, by the tracker's name, so that a resumed run is continued there."""
        return self.folder / "trackers.json"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.folder / "tensorboard"


def server_file(round_: int) -> str:
    """Return the name, in a checkpoint, of the server's own arrays after `round_`."""
    return f"server-{round_}.safetensors"


def server_client_file(client: int, round_: int) -> str:
    """Return the name of what the server keeps for a client, after `round_`, the last in which it could change."""
    return f"server-client-{client}-{round_}.safetensors"


def state_file(client: int, round_: int) -> str:
    """Return the name of a client's state after its training in `round_`."""
    return f"client-{client}-{round_}.safetensors"


def manifest_file(round_: int) -> str:
    """Return the name of the manifest after `round_`."""
    return f"manifest-{round_}.json"


def manifests(checkpoint: Path) -> list[Path]:
    """Return the manifests in a folder of checkpoints, the newest first."""
    return sorted(checkpoint.glob("manifest-*.json"), key=lambda path: -(round_of_file(path.name) or 0))


def round_of_file(name: str) -> int | None:
    """Return the round that a checkpoint's file is of, also of one half written; None for a name that none has."""
    named = _CHECKPOINT_FILE.search(name)
    return int(named[1]) if named else None
