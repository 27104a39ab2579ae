"""Each family's entries and gradients by hand, and the laws that all of them keep."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fedsieve.errors import UserError
from fedsieve.masks.attach import weights
from fedsieve.masks.families import Binary, NOfM, Sign, Ternary
from fedsieve.masks.family import Family, FamilyMask, MaskLayout, attach_family, family_names, family_of, load_family
from fedsieve.masks.static import Magnitude, RandomErk
from fedsieve.models.gcn import GCN

LEARNT = [Binary(), Sign(), Ternary(), NOfM(2, 4), NOfM(1, 3)]


def step(family: Family, w: list[float], latent: list[float]) -> tuple[list[float], list[float], list[float]]:
    """Return masked weights of one unit and the gradients of latents and weights; the loss is 10·Σ w ⊙ mask."""
    model = nn.Linear(len(w), 1, bias=False)
    model.weight.data = torch.tensor([w])
    (parameter,) = attach_family(model, family).values()
    parameter.data = torch.tensor([latent])
    used: Tensor = model.weight
    (10 * used).sum().backward()
    original = weights(model)["weight"]
    assert parameter.grad is not None
    assert original.grad is not None
    return used[0].tolist(), parameter.grad[0].tolist(), original.grad[0].tolist()


@pytest.mark.parametrize(
    ("family", "latent", "entries"),
    [
        (Binary(), [0.0, -0.1, 7.0, -2.0], [1, 0, 1, 0]),
        (Sign(), [0.0, -0.1, 7.0, -2.0], [1, -1, 1, -1]),
        # mean |m| = 1, so Δ = 0.7
        (Ternary(), [0.69, -0.71, 2.0, -0.6], [0, -1, 1, 0]),
        (NOfM(2, 4), [-3.0, -1.0, -2.0, -4.0], [0, 1, 1, 0]),
        # equal ones: the first
        (NOfM(2, 4), [0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0]),
        # a last group of one keeps 1·1/3, rounded up
        (NOfM(1, 3), [0.0, 5.0, 1.0, -9.0], [0, 1, 0, 1]),
    ],
)
def test_entries_and_the_straight_through_gradient_by_hand(family: Family, latent: list[float], entries: list[int]):
    w = [3.0, -2.0, 5.0, -7.0]
    used, of_latent, of_weight = step(family, w, latent)
    assert used == [weight * entry for weight, entry in zip(w, entries, strict=True)]
    # w times the output's, for entries of 0 too; and of w the mask times it
    assert of_latent == [30, -20, 50, -70]
    assert of_weight == [10 * entry for entry in entries]


def test_a_family_may_have_a_gradient_of_its_own():
    class Clipped(Binary):
        def gradient(self, upstream: Tensor, latent: Tensor) -> Tensor:
            return upstream * (latent.abs() <= 1)

    assert step(Clipped(), [3.0, 2.0], [0.5, 1.5])[1] == [30, 0]


def test_groups_run_along_a_convolutions_flattened_inputs():
    scores = torch.arange(24.0).reshape(2, 3, 2, 2)
    scores[1] = -scores[1]
    kept = NOfM(2, 4).values(scores)
    # out x (in · height · width): each group is one kernel of 2 x 2, whose last two, or first two, are largest
    assert kept[0].flatten(1).tolist() == [[0, 0, 1, 1]] * 3
    assert kept[1].flatten(1).tolist() == [[1, 1, 0, 0]] * 3


def test_groups_of_a_matrix_that_is_in_x_out_run_down_its_columns():
    model = GCN(6, 3, hidden_dim=5)
    shape = model.conv1.weight.shape
    latents = attach_family(model, NOfM(2, 4))
    for latent in latents.values():
        latent.data = torch.randn(latent.shape)
    assert tuple(shape) == (6, 5)
    kept = (model.conv1.weight != 0).float()
    assert kept[:4].sum(0).tolist() == [2] * 5
    assert kept[4:].sum(0).tolist() == [1] * 5
    classifier = (model.classifier.weight != 0).float()  # 3 x 5, out x in
    assert classifier[:, :4].sum(1).tolist() == [2] * 3


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, int]:
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=4)))
    few = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0])
    n = int(np.prod(shape))
    latent = draw(
        st.lists(st.one_of(few, st.floats(-1, 1, width=32).map(lambda value: value + 0.0)), min_size=n, max_size=n)
    )
    return torch.tensor(latent).view(shape), draw(st.integers(0, 1))


@given(layers(), st.integers(1, 7), st.integers(1, 8))
def test_every_full_group_keeps_exactly_n(layer: tuple[Tensor, int], n: int, more: int):
    latent, outputs = layer
    family = NOfM(n, n + more)
    kept = family.values(latent, outputs)
    assert kept.shape == latent.shape
    rows, scores = (tensor.transpose(0, outputs).flatten(1) for tensor in (kept, latent))
    for row, of_row in zip(rows, scores, strict=True):
        for group, score in zip(row.split(family.m), of_row.split(family.m), strict=True):
            assert int(group.sum()) == -(-family.n * len(group) // family.m)
            if 0 < group.sum() < len(group):
                assert score[group == 1].min() >= score[group == 0].max()


@pytest.mark.parametrize("family", LEARNT)
@given(layer=layers())
def test_entries_are_of_the_alphabet_and_a_mask_gives_itself(family: Family, layer: tuple[Tensor, int]):
    latent, outputs = layer
    mask = family.values(latent, outputs)
    assert mask.dtype == latent.dtype
    assert set(mask.flatten().tolist()) <= set(map(float, family.alphabet))
    assert torch.equal(family.values(family.centred(mask), outputs), mask)
    assert torch.equal(family.fold(torch.full_like(latent, 3.0), latent, outputs), 3 * mask)
    letters = family.letters(mask)
    assert torch.equal(family.entries(letters), mask.flatten())


@pytest.mark.parametrize("family", LEARNT)
@given(means=st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_centring_is_undone(family: Family, means: list[float]):
    low, high = family.alphabet[0], family.alphabet[-1]
    mean = low + (high - low) * np.array(means)
    assert np.all(np.abs(family.centred(mean)) <= 1 + 1e-12)
    assert family.uncentred(family.centred(mean)) == pytest.approx(mean)


def test_levels_are_what_the_codec_was_told_before_there_were_families():
    broadcast = np.arange(-127, 128)
    (of_signs,) = Sign().levels(Sign().uncentred(broadcast / 127))
    assert of_signs.tolist() == broadcast.tolist()
    assert of_signs.dtype == np.int8
    mean = np.array([0, 0.25, 0.5, 1], dtype=np.float32)
    (of_bits,) = Binary().levels(mean)
    assert of_bits.tolist() == [-127, -64, 0, 127]


def test_levels_of_three_letters_by_hand():
    first, second = Ternary().levels(np.array([-1.0, -0.5, 0.0, 0.5, 1.0]))
    # between -1 and 0 half of the entries are 0; at 0 and above none is -1
    assert first.tolist() == [-127, 0, 127, 127, 127]
    assert second.tolist() == [-127, -127, -127, 0, 127]


def test_what_is_none_of_the_alphabet_is_told():
    with pytest.raises(ValueError, match="entries that are none of -1, 0, 1"):
        Ternary().letters(torch.tensor([0.0, 2.0]))
    with pytest.raises(ValueError, match="entries that are none of 0, 1"):
        Binary().letters(torch.tensor([0.5]))


def test_a_mask_of_the_alphabet_that_is_none_of_the_family():
    layout = MaskLayout({"w": (1, 4)}, ())
    layout.check(NOfM(2, 4), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    for bits in ([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]):
        with pytest.raises(ValueError, match="the mask is none of its family"):
            layout.check(NOfM(2, 4), torch.tensor(bits))


def test_a_vector_of_several_layers_is_masked_layer_by_layer():
    layout = MaskLayout({"a": (1, 4), "b": (4, 1)}, {"b"})
    latent = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.1, 0.2, 0.3, 0.4])
    assert layout.values(NOfM(2, 4), latent).tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    # a threshold for each layer: 0.7·2.5 and 0.7·0.25
    assert layout.values(Ternary(), latent).tolist() == [1, 1, 1, 0, 0, 1, 1, 1]
    assert layout.fold(Ternary(), torch.full((8,), 2.0), latent).tolist() == [2, 2, 2, 0, 0, 2, 2, 2]


def test_scores_begin_at_random_and_other_latents_at_the_last_letter():
    layers = {"w": torch.zeros(3, 5)}
    first, again = (NOfM().initial(layers, np.random.RandomState(3))["w"] for _ in range(2))
    assert torch.equal(first, again)
    assert len(set(first.flatten().tolist())) == 15
    assert first.abs().max() <= 1
    for family in (Binary(), Sign(), Ternary()):
        assert torch.equal(family.initial(layers, np.random.RandomState(3))["w"], torch.ones(3, 5))


def test_magnitude_keeps_the_largest_of_all_layers():
    layers = {"a": torch.tensor([[-9.0, 1.0], [8.0, -7.0]]), "b": torch.tensor([[2.0, -3.0], [0.0, 4.0]])}
    begins = Magnitude(0.5).initial(layers, np.random.RandomState(0))
    assert {name: places.tolist() for name, places in begins.items()} == {
        "a": [[1, -1], [1, 1]],
        "b": [[-1, -1], [-1, 1]],
    }
    assert Magnitude(0.5).values(begins["b"]).tolist() == [[0, 0], [0, 1]]


def erk_densities(shapes: list[tuple[int, ...]], density: float) -> list[float]:
    """Return min(1, ε·Σdims/Πdims) of each layer, by the authors' loop: layers that would exceed 1 are dense."""
    dense: set[int] = set()
    while True:
        sizes = [float(np.prod(shape)) for shape in shapes]
        budget = density * sum(sizes) - sum(sizes[i] for i in dense)
        epsilon = budget / sum(sum(shape) for i, shape in enumerate(shapes) if i not in dense)
        raw = [1.0 if i in dense else epsilon * sum(shapes[i]) / sizes[i] for i in range(len(shapes))]
        over = {i for i, value in enumerate(raw) if value > 1}
        if not over:
            return raw
        dense |= over


@given(st.integers(0, 99), st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_erk_keeps_as_many_of_each_layer_as_the_authors_loop(seed: int, density: float):
    shapes: list[tuple[int, ...]] = [(6, 3, 5, 5), (16, 6, 5, 5), (120, 40), (10, 84)]
    layers = {str(i): torch.zeros(shape) for i, shape in enumerate(shapes)}
    begins = RandomErk(density).initial(layers, np.random.RandomState(seed))
    kept = [int((places > 0).sum()) for places in begins.values()]
    assert sum(kept) == round(density * sum(layer.numel() for layer in layers.values()))
    for count, expected, layer in zip(kept, erk_densities(shapes, density), layers.values(), strict=True):
        assert count == pytest.approx(expected * layer.numel(), abs=1.01)


@pytest.mark.parametrize("family", [Magnitude(), RandomErk()])
def test_a_static_mask_has_no_latent_to_train(family: Family):
    model = nn.Linear(3, 2)
    (latent,) = attach_family(model, family).values()
    assert not latent.requires_grad
    model(torch.ones(1, 3)).sum().backward()
    assert latent.grad is None
    assert weights(model)["weight"].grad is not None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("binary", Binary()), ("nm", NOfM(2, 4)), ("2:4", NOfM(2, 4)), ("1:4", NOfM(1, 4)), ("nm:4:8", NOfM(4, 8)),
        ("erk", RandomErk(0.2)), ("erk:0.05", RandomErk(0.05)), ("magnitude:1", Magnitude(1.0)),
    ],
)  # fmt: skip
def test_a_key_names_a_family_and_its_parameter(given: str, found: Family):
    assert family_of("fed-mask.mask", given) == found


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("ternery", "got 'ternery' (did you mean ternary?), allowed: binary, erk, magnitude, nm, sign, ternary."),
        ("4:2", "got '4:2', but N:M has to be two whole numbers, 1 ≤ N < M ≤ 16, such as 2:4."),
        ("0:4", "got '0:4', but N:M has"),
        ("nm:2", "got 'nm:2', but N:M has"),
        ("1:17", "got '1:17', but N:M has"),
        ("erk:2", "got 'erk:2', but the density has to be a number above 0 and at most 1."),
        ("erk:nan", "got 'erk:nan', but the density"),
        ("sign:1", "got 'sign:1', but it takes no parameter."),
        ("", "got '', allowed: binary"),
    ],
)
def test_a_wrong_name_or_parameter_is_one_sentence(given: str, told: str):
    with pytest.raises(UserError) as caught:
        family_of("a.mask", given)
    assert str(caught.value).startswith(f"a.mask: {told}")


def test_an_algorithm_may_refuse_families_and_names_the_others():
    refusal: Any = lambda family: None if len(family.alphabet) == 3 else "it needs three values"  # noqa: E731
    assert family_of("a.mask", "ternary", refusal) == Ternary()
    with pytest.raises(UserError, match=r"^a.mask: got 'sign', but it needs three values, allowed: ternary\.$"):
        family_of("a.mask", "sign", refusal)


@pytest.mark.parametrize("name", family_names())
def test_a_built_in_family_says_what_it_is(name: str):
    family = load_family(name).of("")
    assert len(family.alphabet) >= 2
    assert list(family.alphabet) == sorted(set(family.alphabet))
    assert family.summary


def test_a_parametrization_masks_like_its_family():
    weight = torch.tensor([[3.0, -2.0]])
    mask = FamilyMask(weight, Sign())
    mask.latent.data = torch.tensor([[-1.0, 1.0]])
    assert mask(weight).tolist() == [[-3, -2]]
