"""What a proof-of-work chain pays: subsidy, difficulty and revenue per hash.

Consensus rules are exact integer arithmetic, as the nodes compute them; revenue formulas take arrays of any shape.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from minesim.arrays import Array, Namespace
from minesim.errors import ParamsError, explain
from minesim.units import HASHES_PER_DIFFICULTY, SECONDS_PER_DAY

SATOSHI_PER_BTC: Final = 100_000_000
RETARGET_BLOCKS: Final = 2016
BTC_HALVING_BLOCKS: Final = 210_000
LTC_HALVING_BLOCKS: Final = 840_000
DOGE_HALVING_BLOCKS: Final = 100_000
BTC_BLOCK_S: Final = 600
LTC_BLOCK_S: Final = 150
DOGE_BLOCK_S: Final = 60
BCH_HALF_LIFE_S: Final = 172_800

DIFFICULTY_ONE_TARGET: Final = 0xFFFF << 208
"""Target of compact form 0x1d00ffff."""
BTC_POW_LIMIT: Final = (1 << 224) - 1
"""Easiest target of Bitcoin and Bitcoin Cash; its compact form is 0x1d00ffff."""
SCRYPT_POW_LIMIT: Final = (1 << 236) - 1
"""Easiest target of Litecoin and Dogecoin."""


def subsidy_satoshi(height: int) -> int:
    """Block subsidy of Bitcoin at a height, satoshi: 50 BTC, halved with the remainder dropped every 210 000 blocks.

    >>> subsidy_satoshi(839_999), subsidy_satoshi(840_000)
    (625000000, 312500000)

    Raises:
        ParamsError: a negative height.
    """
    return _halved(50 * SATOSHI_PER_BTC, height, BTC_HALVING_BLOCKS)


def subsidy_btc(height: int) -> float:
    """Block subsidy of Bitcoin at a height, BTC; see :func:`subsidy_satoshi`."""
    return subsidy_satoshi(height) / SATOSHI_PER_BTC


def subsidy_btc_array(height: Array) -> np.ndarray:
    """Block subsidy of Bitcoin at many heights, BTC; integers of any shape -> float64 of that shape."""
    unique, inverse = np.unique(np.asarray(height, dtype=np.int64), return_inverse=True)
    return np.asarray([subsidy_btc(int(h)) for h in unique])[inverse].reshape(np.shape(height))


def _halved(first: int, height: int, interval: int) -> int:
    if height < 0:
        raise ParamsError(explain(f"block height is {height}", allowed="0 or more", origin="block subsidy"))
    return first >> (height // interval)


def halving_heights(count: int = 33) -> tuple[int, ...]:
    """First ``count`` heights at which the subsidy halves; the 33rd leaves nothing."""
    return tuple(BTC_HALVING_BLOCKS * k for k in range(1, count + 1))


def target_of_bits(bits: int) -> int:
    """Decode the compact form of a target.

    Args:
        bits: 32-bit compact form: one byte of size, sign bit, 23-bit mantissa.

    Returns:
        The 256-bit target.

    Raises:
        ParamsError: negative or longer than 256 bits.
    """
    size, mantissa = bits >> 24, bits & 0x007FFFFF
    target = mantissa >> 8 * (3 - size) if size <= 3 else mantissa << 8 * (size - 3)
    if not 0 <= bits < 1 << 32 or (bits & 0x00800000 and mantissa) or target >> 256:
        raise ParamsError(
            explain(f"compact target 0x{bits:08x} is negative or too long", allowed="0 to 2^256 - 1", origin="bits")
        )
    return target


def bits_of_target(target: int) -> int:
    """Encode a target in compact form; the lowest bits beyond a 23-bit mantissa are cut off.

    Raises:
        ParamsError: the target is negative or longer than 256 bits.
    """
    if not 0 <= target < 1 << 256:
        raise ParamsError(explain(f"target is {target:#x}", allowed="0 to 2^256 - 1", origin="bits_of_target"))
    size = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if mantissa & 0x00800000:
        mantissa, size = mantissa >> 8, size + 1
    return size << 24 | mantissa


def difficulty_of_target(target: int) -> float:
    """Difficulty: the target of difficulty 1 (0x1d00ffff) over the target."""
    return DIFFICULTY_ONE_TARGET / target


def difficulty_of_bits(bits: int) -> float:
    """Difficulty of a compact target.

    >>> round(difficulty_of_bits(0x1B0404CB), 4)
    16307.4209
    """
    return difficulty_of_target(target_of_bits(bits))


def target_of_difficulty(difficulty: float) -> int:
    """Target of a difficulty, exact to the precision of a float.

    Raises:
        ParamsError: the difficulty is not a positive number.
    """
    if not 0.0 < difficulty < float("inf"):
        raise ParamsError(explain(f"difficulty is {difficulty}", allowed="a positive number", origin="chain"))
    top, bottom = float(difficulty).as_integer_ratio()
    return min(DIFFICULTY_ONE_TARGET * bottom // top, (1 << 256) - 1)


def bits_of_difficulty(difficulty: float) -> int:
    """Compact target nearest to a difficulty, for one that was published with few digits.

    >>> hex(bits_of_difficulty(16307.42))
    '0x1b0404cb'

    Raises:
        ParamsError: the difficulty is not a positive number.
    """
    target = target_of_difficulty(difficulty)
    unit = 1 << max(8 * ((bits_of_target(target) >> 24) - 3), 0)
    return bits_of_target(min(target + unit // 2, (1 << 256) - 1))


def _scaled_target(target: int, span_s: int, nominal_s: int, limit: int) -> int:
    return min(target * span_s // nominal_s, limit)


def next_target(target: int, first_time_s: int, last_time_s: int) -> int:
    """Retarget Bitcoin at a multiple of 2016 blocks.

    The window's time runs from its first to its last block: 2015 intervals, though 2016 x 600 s is what it is
    compared with. The change is limited to a factor of 4 either way, the target to the easiest one.

    Args:
        target: target of the window that ends.
        first_time_s, last_time_s: header times of its first and last block, s since 1970.

    Returns:
        The target of the next window before its compact form cuts it; use :func:`next_bits` for what nodes accept.
    """
    nominal_s = RETARGET_BLOCKS * BTC_BLOCK_S
    span_s = min(max(last_time_s - first_time_s, nominal_s // 4), nominal_s * 4)
    return _scaled_target(target, span_s, nominal_s, BTC_POW_LIMIT)


def next_bits(bits: int, first_time_s: int, last_time_s: int) -> int:
    """Retarget Bitcoin, compact form in and out, exactly as the nodes do; see :func:`next_target`."""
    return bits_of_target(next_target(target_of_bits(bits), first_time_s, last_time_s))


def next_difficulty(difficulty: float, first_time_s: int, last_time_s: int) -> float:
    """Retarget Bitcoin from one published difficulty to the next; see :func:`next_target`.

    A published difficulty has few digits, so it is first brought to the nearest compact target.
    """
    return difficulty_of_bits(next_bits(bits_of_difficulty(difficulty), first_time_s, last_time_s))


def ltc_next_bits(bits: int, first_time_s: int, last_time_s: int) -> int:
    """Retarget Litecoin: as Bitcoin with 150 s, and a target near the limit is shifted one bit while it is scaled.

    Args:
        bits: compact target of the window that ends.
        first_time_s: header time of the block a **full** 2016 blocks before the last (2015 at the first retarget).
        last_time_s: header time of the last block, s.
    """
    nominal_s = RETARGET_BLOCKS * LTC_BLOCK_S
    span_s = min(max(last_time_s - first_time_s, nominal_s // 4), nominal_s * 4)
    target = target_of_bits(bits)
    shift = 1 if target.bit_length() > SCRYPT_POW_LIMIT.bit_length() - 1 else 0
    return bits_of_target(min((target >> shift) * span_s // nominal_s << shift, SCRYPT_POW_LIMIT))


def doge_next_bits(bits: int, first_time_s: int, last_time_s: int) -> int:
    """Retarget Dogecoin (DigiShield, each block from 145 000): an eighth of the deviation, within 0.75 to 1.5.

    Args:
        bits: compact target of the last block.
        first_time_s, last_time_s: header times of the last block but one and the last, s.
    """
    deviation_s = last_time_s - first_time_s - DOGE_BLOCK_S
    eighth_s = -(-deviation_s // 8) if deviation_s < 0 else deviation_s // 8
    span_s = min(max(DOGE_BLOCK_S + eighth_s, DOGE_BLOCK_S - DOGE_BLOCK_S // 4), DOGE_BLOCK_S + DOGE_BLOCK_S // 2)
    return bits_of_target(_scaled_target(target_of_bits(bits), span_s, DOGE_BLOCK_S, SCRYPT_POW_LIMIT))


def bch_next_target(anchor_target: int, time_since_anchor_s: int, blocks_since_anchor: int) -> int:
    """Target of the next Bitcoin Cash block by aserti3-2d (from 2020-11-15), in fixed point.

    ``target = anchor x 2^((dt - 600 (dh + 1)) / 172 800)`` with a cubic for the fraction of the power of two.

    Args:
        anchor_target: target of the anchor block.
        time_since_anchor_s: header time of the last block minus that of the anchor's **parent**, s.
        blocks_since_anchor: height of the last block minus the anchor's.

    Returns:
        The target before its compact form cuts it, 1 to the limit.
    """
    lateness_s = (time_since_anchor_s - BTC_BLOCK_S * (blocks_since_anchor + 1)) * 65536
    exponent = abs(lateness_s) // BCH_HALF_LIFE_S * (1 if lateness_s >= 0 else -1)
    shifts, fraction = exponent >> 16, exponent & 0xFFFF
    cubic = 195_766_423_245_049 * fraction + 971_821_376 * fraction**2 + 5127 * fraction**3
    target = anchor_target * (65536 + (cubic + (1 << 47) >> 48))
    target = target << shifts - 16 if shifts >= 16 else target >> 16 - shifts
    return min(max(target, 1), BTC_POW_LIMIT)


def bch_next_bits(anchor_bits: int, time_since_anchor_s: int, blocks_since_anchor: int) -> int:
    """Compact form of :func:`bch_next_target`, from the anchor's compact form."""
    return bits_of_target(bch_next_target(target_of_bits(anchor_bits), time_since_anchor_s, blocks_since_anchor))


def ltc_subsidy(height: int) -> float:
    """Block subsidy of Litecoin at a height, LTC: 50 halved every 840 000 blocks (6.25 from 2023-08)."""
    return _halved(50 * SATOSHI_PER_BTC, height, LTC_HALVING_BLOCKS) / SATOSHI_PER_BTC


def doge_subsidy(height: int) -> float:
    """Block subsidy of Dogecoin at a height from 145 000, DOGE: 500 000 halved every 100 000, 10 000 from 600 000.

    Raises:
        ParamsError: a height below 145 000, where the reward was drawn at random.
    """
    if height < 145_000:
        raise ParamsError(explain(f"Dogecoin height is {height}", allowed="145000 or more", origin="doge_subsidy"))
    if height >= 6 * DOGE_HALVING_BLOCKS:
        return 10_000.0
    return _halved(500_000 * SATOSHI_PER_BTC, height, DOGE_HALVING_BLOCKS) / SATOSHI_PER_BTC


def expected_blocks(hashrate_ths: Array, difficulty: Array, dt_s: Array | float) -> Array:
    """Expected blocks found: hashes over difficulty x 2^32.

    Args:
        hashrate_ths: TH/s, any shape.
        difficulty: of the chain, broadcasts.
        dt_s: time, s.

    Returns:
        Expected count; the real one is Poisson.
    """
    return hashrate_ths * 1e12 * dt_s / (difficulty * HASHES_PER_DIFFICULTY)


def network_hashrate_ths(difficulty: Array, block_time_s: Array | float = float(BTC_BLOCK_S)) -> Array:
    """Hash rate that finds a block every ``block_time_s`` at ``difficulty``, TH/s."""
    return difficulty * HASHES_PER_DIFFICULTY / block_time_s / 1e12


def hashprice_usd_per_phs_day(subsidy_coin: Array, fees_coin: Array, price_usd: Array, difficulty: Array) -> Array:
    """Gross expected revenue of one PH/s over a day, USD: ``86400e15 (subsidy + fees) price / (difficulty 2^32)``.

    Args:
        subsidy_coin, fees_coin: coins per block.
        price_usd: USD per coin.
        difficulty: of the chain. All broadcast.

    Returns:
        USD per PH/s and day, before pool fee, dev fee and rejects.
    """
    coins_per_hash = (subsidy_coin + fees_coin) / (difficulty * HASHES_PER_DIFFICULTY)
    return SECONDS_PER_DAY * 1e15 * coins_per_hash * price_usd


def merged_hashprice_usd_per_ghs_day(
    subsidy_coin: Array,
    fees_coin: Array,
    price_usd: Array,
    difficulty: Array,
    net_factor: Array | float = 1.0,
    *,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Revenue of one GH/s of scrypt over a day when the same hashes count on several chains.

    Merged mining takes no power: the revenues add up, each at its own difficulty (LTC + DOGE; in 2021-05 DOGE paid
    25 of 33 USD per GH/s and day, The Block).

    Args:
        subsidy_coin, fees_coin, price_usd, difficulty: as :func:`hashprice_usd_per_phs_day`, the last axis the chains.
        net_factor: what the pool passes on, per chain (pools charge for the merged coin apart).

    Returns:
        The sum over chains, shape without the last axis, and the part of each chain, USD per GH/s and day.
    """
    part = hashprice_usd_per_phs_day(subsidy_coin, fees_coin, price_usd, difficulty) * net_factor / 1e6
    return xp.sum(part, axis=-1), part
