from __future__ import annotations

import numpy as np
import pytest
import torch

from minesim.arrays import NUMPY, torch_namespace
from minesim.economics import pool
from minesim.economics.pool import PoolTerms
from minesim.errors import ParamsError

FEE_SHARE = np.array([0.0, 0.05, 0.436])


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (PoolTerms("PPS", 0.03), 0.97 * (1 - FEE_SHARE)),
        (PoolTerms("FPPS", 0.02), 0.98 + 0.0 * FEE_SHARE),
        (PoolTerms("FPPS", 0.02, side_payment_fraction=0.5), 0.98 * (1 - FEE_SHARE) + 0.49 * FEE_SHARE),
        (PoolTerms("PPS+", 0.04, 0.02), 0.96 * (1 - FEE_SHARE) + 0.98 * FEE_SHARE),
        (PoolTerms("PPLNS", 0.0), 1.0 + 0.0 * FEE_SHARE),
    ],
    ids=["PPS keeps the fees", "FPPS", "FPPS with side payments", "PPS+", "PPLNS without fee"],
)
def test_expected_share_of_the_reward(terms: PoolTerms, expected: np.ndarray) -> None:
    np.testing.assert_allclose(pool.pool_share(FEE_SHARE, terms), expected, rtol=1e-14)


def test_net_factor_is_the_product_of_what_the_losses_leave() -> None:
    factor = pool.net_factor(np.array(0.98), dev_fee_fraction=0.027, reject_fraction=0.01, lost_fraction=0.002)
    assert factor == pytest.approx(0.98 * 0.973 * 0.99 * 0.998, rel=1e-14)


def test_one_second_of_latency_loses_a_sixth_of_a_percent() -> None:
    lost = pool.stale_fraction(np.array([0.0, 1.0, 600.0]), xp=NUMPY)
    np.testing.assert_allclose(lost, [0.0, 0.0016653, 1 - np.exp(-1.0)], rtol=1e-4)
    tensor = pool.stale_fraction(torch.tensor([0.0, 1.0, 600.0], dtype=torch.float64), xp=torch_namespace())
    np.testing.assert_allclose(tensor.numpy(), lost, rtol=1e-14)


def test_luck_of_a_one_percent_pool() -> None:
    """1.44 blocks a day: 83 % a day, 15 % a month."""
    luck = pool.luck_relative_std(np.array([1.44, 43.2]), xp=NUMPY)
    np.testing.assert_allclose(luck, [0.833, 0.152], atol=5e-4)


@pytest.mark.parametrize(
    ("scheme", "exposed"), [("PPS", 0.0), ("FPPS", 0.0), ("PPS+", 0.1), ("PPLNS", 1.0), ("SOLO", 1.0), ("PROP", 1.0)]
)
def test_who_bears_the_luck(scheme: str, exposed: float) -> None:
    std = pool.income_relative_std(np.array(4.0), np.array(0.1), PoolTerms(scheme, 0.02), xp=NUMPY)
    assert std == pytest.approx(0.5 * exposed, rel=1e-12)


def test_published_terms() -> None:
    assert pool.published_terms("ViaBTC", "BTC", "PPS+") == PoolTerms("PPS+", 0.04, 0.02)
    assert pool.published_terms("SpiderPool", "BTC", "FPPS") == PoolTerms("FPPS", 0.04)
    with pytest.raises(ParamsError, match="OKMINER BTC FPPS"):
        pool.published_terms("OKMINER", "BTC", "FPSS")


def test_bad_terms_are_refused() -> None:
    with pytest.raises(ParamsError, match="Did you mean 'FPPS'"):
        PoolTerms("FPSS")
    with pytest.raises(ParamsError, match=r"fee_fraction is 2\.0"):
        PoolTerms("FPPS", 2.0)
