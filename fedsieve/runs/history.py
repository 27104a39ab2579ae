"""The history of a run: every client in every round, and what `summary.json` says of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, pstdev

from fedsieve.runs.latest import LatestMetrics
from fedsieve.runs.rounds import Round


@dataclass
class History:
    """All finished rounds; an observer of the round loop.

    Only metrics and sizes are kept, no arrays.
    """

    rounds: list[Round] = field(default_factory=list)

    def round_finished(self, round_: Round) -> None:
        """Add a round."""
        self.rounds.append(round_.drop_arrays())

    def accuracy_summary(self) -> dict[str, object]:
        """Return the summary's figures on accuracy, those of an empty run where no round was finished.

        A client's metric in a round is that of its last training up to then; before its first training it is that of
        the first, so that all rounds are compared over the same clients.
        """
        rounds = [round_ for round_ in self.rounds if not round_.for_metric_only]
        if not rounds:
            return {"num_rounds": 0, "best_round": 0}
        validation = self.validation_by_round()
        best = max(range(len(rounds)), key=lambda index: (validation[index], -index))
        at_best, final = self._replay(best + 1), self._replay(len(rounds))
        tests = at_best.values("test-accuracy")
        means, last = at_best.means(), final.means()
        return {
            "num_rounds": len(rounds),
            "best_round": best + 1,
            "test_accuracy": means.get("test-accuracy"),
            "test_accuracy_std": pstdev(tests) if tests else None,
            "test_macro_f1": means.get("test-macro-f1"),
            "test_accuracy_final": last.get("test-accuracy"),
            "test_accuracy_received": means.get("received-test-accuracy"),
            "test_accuracy_per_client": {
                str(client): metrics["test-accuracy"] if metrics["test-count"] else None
                for client, metrics in sorted(at_best.by_client.items())
            },
            "mask_sparsity": _take_mean(
                [m["mask-sparsity"] for m in at_best.by_client.values() if "mask-sparsity" in m]
            ),
        }

    def validation_by_round(self) -> list[float]:
        """Return each round's mean validation accuracy, over the same clients; see `accuracy_summary`."""
        standing, means = self._replay(0), []
        for round_ in self.rounds:
            if not round_.for_metric_only:
                standing.update(round_.replies)
                means.append(standing.mean("val-accuracy") or 0.0)
        return means

    def traffic_summary(self) -> dict[str, object]:
        """Return the summary's figures on bytes, rejected replies and time."""
        replies = [reply for round_ in self.rounds for reply in round_.replies]
        sent = [size for round_ in self.rounds for size in round_.downlink_bytes.values()]
        payload = [size for round_ in self.rounds for size in round_.downlink_payload_bytes.values()]
        seconds = [round_.seconds for round_ in self.rounds if not round_.for_metric_only]
        return {
            "uplink_bytes_per_client_round": _take_mean([reply.uplink_bytes for reply in replies]),
            "downlink_bytes_per_client_round": _take_mean(sent),
            "uplink_payload_bytes_per_client_round": _take_mean([reply.uplink_payload_bytes for reply in replies]),
            "downlink_payload_bytes_per_client_round": _take_mean(payload),
            "seconds_per_round": median(seconds) if seconds else None,
            "rejected_replies": sum(len(round_.rejected) for round_ in self.rounds),
            "lost_states": sum(len(round_.lost) for round_ in self.rounds),
        }

    def _replay(self, number: int) -> LatestMetrics:
        """Return where the clients stand after the first `number` rounds."""
        standing = LatestMetrics()
        for round_ in reversed(self.rounds):
            standing.update(round_.replies)  # so that a client's first stays
        for round_ in self.rounds[:number]:
            standing.update(round_.replies)
        return standing


def _take_mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
