"""Where a round's time goes, by py-spy, FED-PUB on Cora with 10 clients: `python benchmarks/profile_round.py`.

Samples outside the round loop (imports, loading, the report) are left out. A sample counts for the innermost of the
places below that is on its stack.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from runs import heading, row

PLACES = {
    "functional_embedding": "embedding of the random graph (500 x 1,433 by 1,433 x 128, dense)",
    "evaluate": "evaluation, as received and after training",
    "loss": "training: forward",
    "backward": "training: backward",
    "step": "training: optimiser",
    "make_optimizer": "training: optimiser set up again for the client",
    "fit": "training: the rest",
    "_sparsity": "share of zero mask entries",
    "train": "client: the rest (moving tensors in and out of the network)",
    "to_tensors": "messages: reading the download",
    "to_record": "messages: writing arrays",
    "screen": "screening of replies",
    "serialized_bytes": "counting bytes",
    "mix": "mixing, K x K by K x P",
    "round_finished": "history and files",
    "_play": "round loop: the rest",
}


def main() -> None:
    heading("python benchmarks/profile_round.py")
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder) / "stacks"
        command = [sys.executable, "-m", "fedsieve", "run", "--quiet", "--dataset", "cora", "--num-rounds", "150",
                   "-s", "checkpoint-every=0"]  # fmt: skip
        command += ["-s", "fed-pub.sparsity=none", "--out", f"{folder}/run"]
        record = ["py-spy", "record", "--rate", "200", "--format", "raw", "--output", str(stacks), "--"]
        subprocess.run([*record, *command], check=True, capture_output=True)
        counts = Counter[str]()
        for line in stacks.read_text().splitlines():
            stack, samples = line.rsplit(" ", 1)
            functions = [frame.split(" ")[0].rsplit(".")[-1] for frame in stack.split(";")]
            if "_play" in functions:
                counts[next(name for name in reversed(functions) if name in PLACES)] += int(samples)
    row("place", "share of the round, %")
    row("---", "---")
    for name, samples in counts.most_common():
        row(PLACES[name], f"{100 * samples / counts.total():.1f}")


if __name__ == "__main__":
    main()
