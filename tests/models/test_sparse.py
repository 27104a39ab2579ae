import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedsieve.models.sparse import FixedMatrix

CPU = torch.device("cpu")
SMALL = st.integers(-8, 8).map(float)
MOSTLY_ZERO = st.one_of(*[st.just(0.0)] * 5, SMALL)


@given(st.data(), st.booleans(), st.sampled_from([SMALL, MOSTLY_ZERO]))
def test_products_and_gradients_equal_the_dense_ones(data: st.DataObject, as_csr: bool, elements: st.SearchStrategy):
    n, m, h = (data.draw(st.integers(1, 7)) for _ in range(3))
    a = data.draw(arrays(np.float32, (n, m), elements=elements))
    b = torch.from_numpy(data.draw(arrays(np.float32, (m, h), elements=SMALL))).requires_grad_()
    upstream = torch.from_numpy(data.draw(arrays(np.float32, (n, h), elements=SMALL)))
    fixed = FixedMatrix(sp.csr_array(a) if as_csr else a, CPU)
    assert fixed.shape == (n, m)
    product = fixed @ b
    assert torch.equal(product, torch.from_numpy(a) @ b)
    product.backward(upstream)
    assert torch.equal(b.grad, torch.from_numpy(a).T @ upstream)


@pytest.mark.parametrize("density", [0.05, 0.9])
def test_a_gradient_that_is_not_contiguous(density: float):
    random = np.random.RandomState(0)
    a = (random.normal(size=(20, 30)) * (random.random_sample((20, 30)) < density)).astype(np.float32)
    b = torch.randn(30, 4, requires_grad=True)
    (FixedMatrix(a, CPU) @ b).t().contiguous().sum().backward()
    assert torch.allclose(b.grad, torch.from_numpy(a.sum(axis=0)).unsqueeze(1).expand(30, 4), atol=1e-5)
    b.grad = None
    upstream = torch.randn(4, 20).t()
    (FixedMatrix(a, CPU) @ b).backward(upstream)
    assert torch.allclose(b.grad, torch.from_numpy(a).T @ upstream, atol=1e-5)
