from typing import Any

import pytest

from fedsieve.contract import Reply
from fedsieve.runs.history import History
from fedsieve.runs.rounds import Round
from tests.messages import METRICS


def answered(client: int, val: float, test: float, **others: Any) -> Reply:
    metrics = {"val-accuracy": val, "test-accuracy": test} | {k.replace("_", "-"): v for k, v in others.items()}
    return Reply(client, {}, METRICS | metrics, uplink_bytes=100 + client, uplink_payload_bytes=50)


def a_round(number: int, *replies: Reply, rejected: dict[int, str] | None = None, **others: Any) -> Round:
    lost = rejected or {}
    participants = tuple(sorted([*lost, *(reply.client for reply in replies)]))
    values: dict[str, Any] = {
        "number": number,
        "participants": participants,
        "replies": replies,
        "rejected": lost,
        "downlink_bytes": dict.fromkeys(participants, 80),
        "downlink_payload_bytes": dict.fromkeys(participants, 40),
        "for_metric_only": False,
        "means": {},
        "seconds": float(number),
    }
    return Round(**(values | others))


def history(*rounds: Round) -> History:
    kept = History()
    for round_ in rounds:
        kept.round_finished(round_)
    return kept


def test_the_best_round_is_that_of_the_best_mean_validation_accuracy():
    found = history(
        a_round(1, answered(0, 0.1, 0.9), answered(1, 0.3, 0.9)),
        a_round(2, answered(0, 0.8, 0.4), answered(1, 0.4, 0.6)),
        a_round(3, answered(0, 0.2, 1.0), answered(1, 0.9, 0.0)),
    ).accuracy_summary()
    assert (found["num_rounds"], found["best_round"]) == (3, 2)
    assert found["test_accuracy"] == pytest.approx(0.5)
    assert found["test_accuracy_std"] == pytest.approx(0.1)
    assert found["test_accuracy_per_client"] == {"0": 0.4, "1": 0.6}
    assert found["test_accuracy_final"] == pytest.approx(0.5)
    assert found["test_accuracy_received"] == pytest.approx(0.125)
    assert found["test_macro_f1"] == pytest.approx(0.375)


def test_of_equal_rounds_the_first_is_best():
    rounds = [a_round(number, answered(0, 0.5, number / 10)) for number in (1, 2, 3)]
    assert history(*rounds).accuracy_summary()["best_round"] == 1


def test_a_client_that_pauses_counts_with_its_last_and_a_late_one_with_its_first_metrics():
    found = history(
        a_round(1, answered(0, 0.2, 0.1)),  # 0: 0.2, 1: 0.9 from round 2, 2: 0.1 from the end: 0.4
        a_round(2, answered(1, 0.9, 0.3)),  # the same: 0.4
        a_round(3, answered(0, 0.5, 0.7)),  # 0: 0.5, 1: 0.9, 2: 0.1: 0.5
        a_round(4, answered(1, 0.3, 0.9)),  # 0: 0.5, 1: 0.3, 2: 0.1: 0.3
        a_round(5, answered(2, 0.1, 0.2), for_metric_only=True),
    ).accuracy_summary()
    assert (found["num_rounds"], found["best_round"]) == (4, 3)
    assert found["test_accuracy_per_client"] == {"0": 0.7, "1": 0.3, "2": 0.2}
    assert found["test_accuracy"] == pytest.approx(0.4)
    assert found["test_accuracy_final"] == pytest.approx((0.7 + 0.9 + 0.2) / 3)


def test_a_client_without_test_nodes_is_in_no_mean():
    found = history(a_round(1, answered(0, 0.5, 0.8), answered(1, 0.5, 0.0, test_count=0))).accuracy_summary()
    assert found["test_accuracy"] == pytest.approx(0.8)
    assert found["test_accuracy_std"] == 0
    assert found["test_accuracy_per_client"] == {"0": 0.8, "1": None}


def test_a_client_without_validation_nodes_does_not_choose_the_round():
    found = history(
        a_round(1, answered(0, 0.5, 0.1), answered(1, 0.9, 0.1, val_count=0)),
        a_round(2, answered(0, 0.6, 0.2), answered(1, 0.0, 0.2, val_count=0)),
    ).accuracy_summary()
    assert found["best_round"] == 2


def test_the_sparsity_is_the_mean_over_clients_at_the_best_round_or_nothing():
    sparse = [answered(0, 0.5, 0.5, mask_sparsity=0.25), answered(1, 0.5, 0.5, mask_sparsity=0.75)]
    assert history(a_round(1, *sparse)).accuracy_summary()["mask_sparsity"] == 0.5
    assert history(a_round(1, answered(0, 0.5, 0.5))).accuracy_summary()["mask_sparsity"] is None


def test_traffic_counts_who_sent_and_who_was_sent_to():
    found = history(
        a_round(1, answered(0, 0, 0), answered(1, 0, 0), downlink_bytes={0: 80, 1: 40}),
        a_round(2, answered(0, 0, 0), rejected={1: "no reply in time"}, downlink_bytes={0: 80, 1: 40}),
        a_round(3, answered(0, 0, 0), rejected={1: "broken"}, downlink_bytes={0: 80, 1: 40}),
    ).traffic_summary()
    assert found == {
        "uplink_bytes_per_client_round": (100 + 101 + 100 + 100) / 4,
        "downlink_bytes_per_client_round": 60,
        "uplink_payload_bytes_per_client_round": 50,
        "downlink_payload_bytes_per_client_round": 40,
        "lost_states": 0,
        "seconds_per_round": 2,
        "rejected_replies": 2,
    }


def test_a_run_without_a_round_has_no_accuracy():
    found = History().accuracy_summary() | History().traffic_summary()
    assert (found["num_rounds"], found["best_round"]) == (0, 0)
    assert found["uplink_bytes_per_client_round"] is None
    assert found["seconds_per_round"] is None


def test_no_arrays_are_kept():
    import numpy as np

    reply = Reply(0, {"w": np.ones(3)}, METRICS, 1, 1)
    assert history(a_round(1, reply)).rounds[0].replies[0].arrays == {}
