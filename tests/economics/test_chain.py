from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minesim.arrays import NUMPY, torch_namespace
from minesim.economics import chain
from minesim.errors import ParamsError

LIMIT = chain.BTC_POW_LIMIT


@pytest.mark.parametrize(
    ("height", "satoshi"),
    [
        (0, 5_000_000_000),
        (209_999, 5_000_000_000),
        (210_000, 2_500_000_000),
        (630_000, 625_000_000),
        (840_000, 312_500_000),
        (10 * 210_000, 4_882_812),  # 4 882 812.5 before the remainder is dropped
        (32 * 210_000, 1),
        (33 * 210_000, 0),
        (100 * 210_000, 0),
    ],
)
def test_subsidy_is_the_integer_halving_rule(height: int, satoshi: int) -> None:
    assert chain.subsidy_satoshi(height) == satoshi
    assert chain.subsidy_btc(height) == satoshi / 1e8


def test_all_subsidies_add_up_to_the_known_supply() -> None:
    total = sum(chain.BTC_HALVING_BLOCKS * chain.subsidy_satoshi(h) for h in (0, *chain.halving_heights()))
    assert total == 2_099_999_997_690_000


def test_subsidy_of_many_heights_keeps_their_shape() -> None:
    heights = np.array([[0, 210_000], [839_999, 840_000]])
    np.testing.assert_array_equal(chain.subsidy_btc_array(heights), [[50.0, 25.0], [6.25, 3.125]])


def test_negative_height_is_refused() -> None:
    with pytest.raises(ParamsError, match="block height is -1"):
        chain.subsidy_btc(-1)


def test_subsidies_of_the_scrypt_chains() -> None:
    assert [chain.ltc_subsidy(h) for h in (0, 839_999, 840_000, 2_520_000)] == [50.0, 50.0, 25.0, 6.25]
    doge = [chain.doge_subsidy(h) for h in (145_000, 199_999, 200_000, 599_999, 600_000, 5_000_000)]
    assert doge == [250_000.0, 250_000.0, 125_000.0, 15_625.0, 10_000.0, 10_000.0]
    with pytest.raises(ParamsError, match="145000 or more"):
        chain.doge_subsidy(144_999)


@pytest.mark.parametrize(
    ("bits", "target"),
    [
        (0x1D00FFFF, 0xFFFF << 208),
        (0x05009234, 0x92340000),
        (0x04123456, 0x12345600),
        (0x03123456, 0x123456),
        (0x02123456, 0x1234),
        (0x01123456, 0x12),
        (0x00123456, 0),
    ],
)
def test_compact_form_decodes_as_the_nodes_do(bits: int, target: int) -> None:
    assert chain.target_of_bits(bits) == target


@pytest.mark.parametrize("bits", [0x04923456, 0x01FEDCBA, 0xFF123456, -1, 1 << 32])
def test_negative_or_too_long_compact_target_is_refused(bits: int) -> None:
    with pytest.raises(ParamsError, match="negative or too long"):
        chain.target_of_bits(bits)


def test_a_set_sign_bit_moves_the_mantissa() -> None:
    assert chain.bits_of_target(0x80) == 0x02008000
    assert chain.bits_of_target(0x12) == 0x01120000


@given(st.integers(min_value=1, max_value=(1 << 256) - 1))
def test_compact_form_cuts_less_than_a_part_in_two_to_the_15(target: int) -> None:
    back = chain.target_of_bits(chain.bits_of_target(target))
    assert back <= target
    assert (target - back) * 2**15 < target
    assert chain.bits_of_target(back) == chain.bits_of_target(target)


@given(st.integers(min_value=0x008000, max_value=0x7FFFFF), st.integers(min_value=8, max_value=28))
def test_difficulty_published_with_nine_digits_finds_its_compact_form(mantissa: int, size: int) -> None:
    bits = size << 24 | mantissa
    assert chain.bits_of_difficulty(chain.difficulty_of_bits(bits) * (1 + 6e-9)) == bits
    assert chain.bits_of_difficulty(chain.difficulty_of_bits(bits) * (1 - 6e-9)) == bits


@pytest.mark.parametrize("difficulty", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_difficulty_is_refused(difficulty: float) -> None:
    with pytest.raises(ParamsError, match="a positive number"):
        chain.target_of_difficulty(difficulty)


@pytest.mark.parametrize(
    ("first", "last", "bits", "expected"),
    [
        (1261130161, 1262152739, 0x1D00FFFF, 0x1D00D86A),
        (1231006505, 1233061996, 0x1D00FFFF, 0x1D00FFFF),
        (1279008237, 1279297671, 0x1C05A3F4, 0x1C0168FD),
        (1263163443, 1269211443, 0x1C387F6F, 0x1D00E1FD),
    ],
    ids=["free", "easiest", "quarter", "fourfold"],
)
def test_bitcoin_retarget_known_answers(first: int, last: int, bits: int, expected: int) -> None:
    """Vectors of Bitcoin Core's src/test/pow_tests.cpp."""
    assert chain.next_bits(bits, first, last) == expected
    assert chain.next_difficulty(chain.difficulty_of_bits(bits), first, last) == chain.difficulty_of_bits(expected)


def test_the_window_has_2015_intervals() -> None:
    bits = 0x1B0404CB
    on_time = chain.next_difficulty(chain.difficulty_of_bits(bits), 0, 2015 * 600)
    assert on_time / chain.difficulty_of_bits(bits) == pytest.approx(2016 / 2015, rel=1e-4)


@pytest.mark.parametrize(
    ("first", "last", "bits", "expected"),
    [
        (1358118740, 1358378777, 0x1C0AC141, 0x1C093F8D),
        (1317972665, 1318480354, 0x1E0FFFF0, 0x1E0FFFFF),
        (1401682934, 1401757934, 0x1B075CF1, 0x1B01D73C),
        (1463690315, 1464900315, 0x1B015318, 0x1B054C60),
    ],
    ids=["free", "easiest, shifted", "quarter", "fourfold"],
)
def test_litecoin_retarget_known_answers(first: int, last: int, bits: int, expected: int) -> None:
    """Vectors of Litecoin's src/test/pow_tests.cpp."""
    assert chain.ltc_next_bits(bits, first, last) == expected


@pytest.mark.parametrize(
    ("first", "last", "bits", "expected"),
    [
        (1395094427, 1395094679, 0x1B499DFD, 0x1B671062),
        (1395100835, 1395101360, 0x1B3439CD, 0x1B4E56B3),
        (1395380517, 1395380447, 0x1B446F21, 0x1B335358),
        (1395094679, 1395094727, 0x1B671062, 0x1B6558A4),
    ],
    ids=["free", "upper clamp", "lower clamp, time runs back", "division towards zero"],
)
def test_dogecoin_retarget_known_answers(first: int, last: int, bits: int, expected: int) -> None:
    """Vectors of Dogecoin's DigiShield tests (blocks 145 000 to 149 423)."""
    assert chain.doge_next_bits(bits, first, last) == expected


FUNNY = 0x000000008000000000000000000FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF
SINGLE_300 = 0x00000000FFB1FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF


@pytest.mark.parametrize(
    ("anchor", "time_s", "blocks", "expected", "bits"),
    [
        (LIMIT, 0, 288, LIMIT >> 1, 0x1C7FFFFF),
        (LIMIT, 0, 576, LIMIT >> 2, 0x1C3FFFFF),
        (LIMIT >> 1, 0, 288, LIMIT >> 2, 0x1C3FFFFF),
        (LIMIT >> 3, 0, 288, LIMIT >> 4, 0x1C0FFFFF),
        (LIMIT, 0, 2 * 222 * 144, 3, 0x01030000),
        (LIMIT, 0, 2 * 222 * 144 + 119, 3, 0x01030000),
        (LIMIT, 0, 2 * 222 * 144 + 120, 2, 0x01020000),
        (LIMIT, 0, 2 * 223 * 144 - 1, 2, 0x01020000),
        (LIMIT, 0, 2 * 223 * 144, 1, 0x01010000),
        (LIMIT, 0, 2 * 224 * 144, 1, 0x01010000),
        (1, 0, 2 * 224 * 144, 1, 0x01010000),
        (LIMIT, 2 * 480 * 144, 0, LIMIT, 0x1D00FFFF),
        (1, 448 * 144 * 600, 0, LIMIT, 0x1D00FFFF),
        (LIMIT, 300, 1, SINGLE_300, 0x1D00FFB1),
        (FUNNY, 600 * 66 * 144, 0, LIMIT, 0x1D00FFFF),
        (1, 600 * 512 * 144, 0, LIMIT, 0x1D00FFFF),
        (1, 600 * 448 * 144 - 1, 0, 0xFFFF8 << 204, 0x1D00FFFF),
    ],
)
def test_bitcoin_cash_asert_known_answers(anchor: int, time_s: int, blocks: int, expected: int, bits: int) -> None:
    """Vectors of Bitcoin Cash Node's src/test/pow_tests.cpp; the anchor's parent lies 600 s before the anchor."""
    target = chain.bch_next_target(anchor, 600 + time_s, blocks)
    assert target == expected
    assert chain.bits_of_target(target) == bits


def test_bitcoin_cash_on_schedule_keeps_its_target() -> None:
    steady = [chain.bch_next_bits(0x1A2B3C4D, 1200 + 600 * n, 1 + n) for n in range(10)]
    assert steady == [0x1A2B3C4D] * 10


def test_bitcoin_cash_doubles_for_each_half_life_of_delay() -> None:
    doubled = [chain.target_of_bits(chain.bch_next_bits(0x1802AEE8, 600 + 172_800 * n, 0)) for n in range(1, 4)]
    assert doubled == [chain.target_of_bits(0x1802AEE8) << n for n in range(1, 4)]


def test_hashprice_by_hand() -> None:
    """2023-12-31: (6.25 + 2.31) BTC x 42 217 USD at 72.006e12; one PH/s finds 86 400e15 / (D 2^32) blocks a day."""
    blocks = 86400 * 1e15 / (72.006e12 * 4294967296)
    assert blocks == pytest.approx(2.7937e-4, rel=1e-4)
    value = chain.hashprice_usd_per_phs_day(6.25, 2.31, 42_217.0, 72.006e12)
    assert value == pytest.approx(blocks * 8.56 * 42_217.0, rel=1e-12)
    assert value == pytest.approx(100.96, abs=0.01)


def test_network_hashrate_finds_one_block_in_a_block_time() -> None:
    hashrate = chain.network_hashrate_ths(72.006e12)
    assert hashrate == pytest.approx(515.4e6, rel=1e-3)
    assert chain.expected_blocks(hashrate, 72.006e12, 600.0) == pytest.approx(1.0)


def test_merged_mining_adds_up_over_the_chains_by_hand() -> None:
    """A GH/s-day is 86 400e9 hashes: 86 400e9 / (9e6 x 2^32) x 12.5 LTC x 300 USD = 8.382 USD, DOGE likewise."""
    total, part = chain.merged_hashprice_usd_per_ghs_day(
        np.array([12.5, 10_000.0]),
        np.array([0.0, 0.0]),
        np.array([300.0, 0.5]),
        np.array([9.0e6, 4.0e6]),
        np.array([1.0, 0.99]),
        xp=NUMPY,
    )
    np.testing.assert_allclose(part, [8.382, 25.146 * 0.99], rtol=1e-4)
    assert total == part.sum()


def test_revenue_formulas_are_the_same_in_torch() -> None:
    cases = np.random.default_rng(1).uniform(0.5, 2.0, (4, 5, 2)) * np.array([6.25, 0.3, 30e3, 50e12])[:, None, None]
    tensors = torch.from_numpy(cases)
    assert torch.equal(
        chain.hashprice_usd_per_phs_day(*tensors), torch.from_numpy(chain.hashprice_usd_per_phs_day(*cases))
    )
    total, _ = chain.merged_hashprice_usd_per_ghs_day(*cases, xp=NUMPY)
    total_torch, _ = chain.merged_hashprice_usd_per_ghs_day(*tensors, xp=torch_namespace())
    np.testing.assert_allclose(total_torch.numpy(), total, rtol=1e-14)
