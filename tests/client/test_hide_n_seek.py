"""HideNseek by hand: w = (1, -2), x = (1, 2), lr 0.5, so one step takes 0.5·w·x = (0.5, -2) from the latents."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.algorithms import load_algorithm
from fedsieve.client.hide_n_seek import HideNseekTrainer
from fedsieve.contract import Shape, Tensors, TrainResult
from fedsieve.inputs import run_network
from fedsieve.masks.attach import weights
from fedsieve.masks.codec import decode
from fedsieve.masks.survivors import Survivors
from fedsieve.models import build, make_ones
from fedsieve.protocols.hide_n_seek import HideNseekConfig, pack_broadcast, unpack_broadcast
from fedsieve.server.screening import REQUIRED
from tests.client.test_fed_mask import NETWORKS, OnOnes
from tests.client.toy import Toy, linear
from tests.helpers import config
from tests.messages import strategy_of

BOTH, FIRST, SECOND = [0b11000000], [0b10000000], [0b01000000]


def made(**keys: Any) -> HideNseekTrainer:
    plain = {"optimizer": "sgd", "lr": 0.5, "weight-decay": 0.0, "local-epochs": 1}
    own = {"hide-n-seek.restart": 0.1, "hide-n-seek.own-share": 0.0, "hide-n-seek.average-last": 0.0}
    run = config({"algorithm": "hide-n-seek"} | plain | own | keys)
    assert isinstance(run.settings, HideNseekConfig)
    ours = HideNseekTrainer(run, run.settings, linear([9.0, 9.0], 9.0))
    ours.weights["weight"].copy_(torch.tensor([[1.0, -2.0]]))
    return ours


def sent(mean: list[int], keep: list[int] | None = None) -> Tensors:
    mask = {} if keep is None else {"keep": torch.tensor(keep, dtype=torch.uint8)}
    return {"mean": torch.tensor(mean, dtype=torch.int8)} | mask


def latents_of(ours: HideNseekTrainer) -> list[float]:
    found: list[float] = ours.mask.latent.tolist()
    return found


def signs_of(result: TrainResult, mean: list[int]) -> list[bool]:
    groups = np.zeros(len(mean), dtype=np.uint8)  # any will do: so few signs are packed, or not there if none flips
    found: list[bool] = decode(result.arrays["signs"].numpy(), np.array(mean, dtype=np.int8), groups).tolist()
    return found


def test_one_step_from_what_was_sent():
    task, ours = Toy(), made()
    result = ours.train(task, sent([127, -64], BOTH), {})
    # latents (0.1, -0.1·64/127) - (0.5, -2)
    assert latents_of(ours) == pytest.approx([-0.4, 2 - 6.4 / 127])
    assert signs_of(result, [127, -64]) == [False, True]
    assert [seen.tolist() for seen in task.seen] == [[[1, 2]], [[-1, -2]]]
    assert set(result.arrays) == {"signs"}
    assert result.arrays["signs"].dtype == torch.uint8
    assert set(result.metrics) >= REQUIRED
    assert result.metrics["mask-sparsity"] == 0
    assert (result.metrics["received-test-accuracy"], result.metrics["test-accuracy"]) == (0.05, 0.1)
    # the loss of (1, 2)·(1, 2)
    assert result.metrics["train-loss"] == pytest.approx(5)


def test_latents_restart_at_a_multiple_of_the_mean_sign():
    ours = made(**{"hide-n-seek.restart": 2.54})
    result = ours.train(Toy(num_examples=0), sent([50, -1], BOTH), {})
    assert latents_of(ours) == pytest.approx([1, -0.02])
    assert signs_of(result, [50, -1]) == [True, False]
    assert result.metrics["num-examples"] == 0


def test_a_mean_sign_of_0_counts_as_plus():
    task = Toy(num_examples=0)
    result = made().train(task, sent([0, 0], BOTH), {})
    assert task.seen[0].tolist() == [[1, -2]]
    assert signs_of(result, [0, 0]) == [True, True]


@pytest.mark.parametrize(
    ("keep", "latent", "seen"), [(FIRST, -0.4, [[1, 0], [-1, 0]]), (SECOND, 2.1, [[0, -2], [0, -2]])]
)
def test_pruned_weights_are_0_and_have_no_latent(keep: list[int], latent: float, seen: list[list[int]]):
    task, ours = Toy(), made()
    result = ours.train(task, sent([127], keep), {})
    assert latents_of(ours) == pytest.approx([latent])
    assert [weight.flatten().tolist() for weight in task.seen] == seen
    assert signs_of(result, [127]) == [latent > 0]
    assert result.metrics["mask-sparsity"] == 0.5


def test_states_of_all_clients_of_a_process_hold_one_keep_mask():
    ours = made()
    states = [ours.train(Toy(), sent([127, -64], BOTH), {}).state for _ in range(3)]
    assert len({state["keep"].data_ptr() for state in states}) == 1
    other = ours.train(Toy(), sent([127], FIRST), {}).state
    assert other["keep"].tolist() == FIRST
    assert states[0]["keep"].tolist() == BOTH


def test_the_optimiser_goes_on_within_a_round_and_restarts_with_the_next():
    ours = made(momentum=0.9)
    state: Tensors = {}
    for _ in range(2):
        result = ours.train(Toy(batches=2), sent([127, 127], BOTH), state)
        state = result.state
        # per step lr·g and lr·(0.9·g + g), with lr·g = (0.5, -2)
        assert latents_of(ours) == pytest.approx([0.1 - 2.9 * 0.5, 0.1 + 2.9 * 2])


@pytest.mark.parametrize(
    ("share", "averaged"), [(0.0, [4]), (0.25, [4]), (0.5, [3, 4]), (0.8, [2, 3, 4]), (1.0, [1, 2, 3, 4])]
)
def test_the_signs_are_those_of_the_mean_latents_of_the_last_steps(share: float, averaged: list[int]):
    task = Toy(batches=2)
    ours = made(**{"hide-n-seek.average-last": share, "local-epochs": 2})
    result = ours.train(task, sent([127, 127], BOTH), {})
    # after step k: 0.1 - 0.5·k and 0.1 + 2·k
    mean = sum(averaged) / len(averaged)
    assert latents_of(ours) == pytest.approx([0.1 - 0.5 * mean, 0.1 + 2 * mean])
    assert signs_of(result, [127, 127]) == [False, True]
    assert task.seen[-1].tolist() == [[-1, -2]]


def test_a_mean_of_latents_can_have_another_sign_than_the_last():
    ours = made(**{"hide-n-seek.average-last": 1.0, "hide-n-seek.restart": 1.0})
    result = ours.train(Toy(batches=3), sent([127, 127], BOTH), {})
    # 0.5, 0.0 and -0.5, whose mean 0 is a +1 where the last is a -1
    assert signs_of(result, [127, 127]) == [True, True]


def test_latents_restart_nearer_to_the_clients_own_last_signs():
    ours = made(**{"hide-n-seek.own-share": 0.25})
    state = {"keep": torch.tensor(BOTH, dtype=torch.uint8), "signs": torch.tensor(FIRST, dtype=torch.uint8)}
    result = ours.train(Toy(num_examples=0), sent([-127, -127]), state)
    # 0.1·(0.75·(-1, -1) + 0.25·(1, -1))
    assert latents_of(ours) == pytest.approx([-0.05, -0.1])
    assert signs_of(result, [-127, -127]) == [False, False]


def test_no_latent_of_one_client_reaches_the_next():
    ours = made(optimizer="adam")
    alone = ours.train(Toy(), sent([127, -127], BOTH), {})
    after_alone = latents_of(ours)
    ours.train(Toy(batches=3), sent([-127], SECOND), {})
    again = ours.train(Toy(), sent([127, -127], BOTH), {})
    assert latents_of(ours) == after_alone
    assert torch.equal(again.arrays["signs"], alone.arrays["signs"])


def test_the_state_is_the_keep_mask_and_the_packed_signs():
    state = made().train(Toy(), sent([127, 127], BOTH), {}).state
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in state.items()} == {
        "keep": (torch.uint8, BOTH),
        "signs": (torch.uint8, [0b01000000]),
    }


def test_the_keep_mask_need_not_be_sent_again_and_a_new_one_replaces_it():
    ours, task = made(**{"hide-n-seek.own-share": 1.0}), Toy()
    state = ours.train(Toy(), sent([127], FIRST), {}).state
    state = ours.train(task, sent([127]), state).state
    assert task.seen[0].tolist() == [[-1, 0]]  # its own last sign, not the one that was sent
    # signs of other weights are not the client's own of these: it begins with what was sent
    ours.train(Toy(num_examples=0), sent([-127], SECOND), state)
    assert latents_of(ours) == pytest.approx([-0.1])
    state = ours.train(task, sent([127], SECOND), state).state
    assert task.seen[-1].tolist() == [[0, -2]]
    assert state["keep"].tolist() == SECOND


def test_a_lost_keep_mask_is_an_error():
    ours = made()
    ours.train(Toy(), sent([127, 127], BOTH), {})
    with pytest.raises(LookupError, match="lost the keep-mask"):
        ours.train(Toy(), sent([127, 127]), {})


def test_a_keep_mask_for_another_network_is_an_error():
    with pytest.raises(ValueError, match="a keep-mask of 2 bytes does not fit 2 weights"):
        made().train(Toy(), sent([127, 127], [255, 255]), {})


def test_the_personal_model_is_what_was_evaluated_and_survives_other_clients():
    ours, task = made(), Toy()
    state = ours.train(task, sent([127, 127], BOTH), {}).state
    ours.train(Toy(), sent([-127], SECOND), {})
    model = ours.personal_model(state)
    assert torch.equal(model["weight"], task.seen[-1])
    assert model["bias"].tolist() == [0]  # as freeze_ leaves it


def test_under_vote_the_signs_come_as_bits():
    task, ours = Toy(), made(**{"hide-n-seek.aggregate": "vote"})
    vote = {"vote": torch.tensor([0b10000000], dtype=torch.uint8), "keep": torch.tensor(BOTH, dtype=torch.uint8)}
    result = ours.train(task, vote, {})
    assert task.seen[0].tolist() == [[1, 2]]
    assert latents_of(ours) == pytest.approx([-0.4, 1.9])
    assert signs_of(result, [127, -127]) == [False, True]


@given(st.lists(st.integers(-127, 127), min_size=1, max_size=40))
def test_a_broadcast_comes_out_as_it_went_in(values: list[int]):
    mean, survivors = np.array(values, dtype=np.int8), Survivors({"w": torch.ones(1, len(values), dtype=torch.bool)})
    packed = pack_broadcast(mean, "mean")
    assert list(packed) == ["mean"]
    assert unpack_broadcast(packed, survivors).tolist() == values  # type: ignore[arg-type]
    vote = pack_broadcast(mean, "vote")
    assert list(vote) == ["vote"]
    assert vote["vote"].nbytes == -(-len(values) // 8)
    unpacked = unpack_broadcast(vote, survivors)  # type: ignore[arg-type]
    assert unpacked.dtype == np.int8
    assert unpacked.tolist() == [127 if value >= 0 else -127 for value in values]


@pytest.mark.parametrize(("dataset", "model", "shape"), NETWORKS)
@pytest.mark.parametrize("aggregate", ["mean", "vote"])
def test_on_any_network_the_personal_model_computes_what_was_evaluated(
    aggregate: str, dataset: str, model: str, shape: Shape
):
    keys = {"algorithm": "hide-n-seek", "dataset": dataset, "model": model, "hidden-dim": 4, "dropout": 0.0}
    run = config(keys | {"local-epochs": 2, "lr": 0.5, "hide-n-seek.aggregate": aggregate, "hide-n-seek.density": 0.3})
    server = strategy_of(run, shape)
    server.begin({})
    ours, state = load_algorithm("hide-n-seek").load_trainer()(run, run.settings, build(run, shape)), {}
    for round_ in range(2):
        task = OnOnes(shape)
        received = {name: torch.from_numpy(array.copy()) for name, array in server.broadcast(0, round_ > 0).items()}
        if round_ == 1:
            assert "keep" not in received
        result = ours.train(task, received, state)
        state = result.state
        (signs,) = server.unpack(0, {name: tensor.numpy() for name, tensor in result.arrays.items()}).values()
        plain = build(run, shape).eval()
        folded = ours.personal_model(state)
        for name, parameter in weights(plain).items():
            parameter.data = folded[name]
        assert torch.equal(run_network(plain, make_ones(shape)), task.seen[-1])
        assert signs.tolist() == state["signs"].tolist()
        assert 0 < np.unpackbits(signs).mean() < 1
