"""Bitcoin: price with stochastic volatility and jumps, hash rate that follows revenue, difficulty by the real rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minesim.economics.chain import BTC_BLOCK_S, RETARGET_BLOCKS, hashprice_usd_per_phs_day, next_difficulty
from minesim.scenario.generator.noise import ar1
from minesim.scenario.generator.parameters import GeneratorParameters
from minesim.units import HASHES_PER_DIFFICULTY, SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coin:
    """Hourly coin series, (T,) each: price in force (USD), difficulty in force, fees of the day's blocks (BTC)."""

    coin_price_usd: Floats
    difficulty: Floats
    fees_coin_per_block: Floats


def generate_coin(
    rng: np.random.Generator, day_of_row: npt.NDArray[np.int64], subsidy_coin: Floats, parameters: GeneratorParameters
) -> Coin:
    """Draw price, difficulty and fees.

    Args:
        day_of_row: number of each hour's UTC day, 0 for the first (T,).
        subsidy_coin: coins a block without fees (T,).
    """
    days = int(day_of_row[-1]) + 1
    price_rng, hash_rng, fee_rng = rng.spawn(3)
    price = _daily_price(price_rng, days, parameters)[day_of_row]
    fees = np.exp(
        parameters.number("fee_log_mean")
        + parameters.number("fee_log_sd") * ar1(fee_rng, days, parameters.number("fee_tau_days"))
    )[day_of_row]
    return Coin(price, _difficulty(hash_rng, price, subsidy_coin + fees, parameters), fees)


def _daily_price(rng: np.random.Generator, days: int, parameters: GeneratorParameters) -> Floats:
    """Price at 00:00 UTC of each day: log returns with autoregressive log variance, and rare jumps."""
    variance_rng, return_rng, jump_rng, size_rng, start_rng = rng.spawn(5)
    log_variance = parameters.number("coin_log_variance_sd") * ar1(
        variance_rng, days, parameters.number("coin_log_variance_tau_days")
    )
    sd = parameters.number("coin_return_sd")
    returns = sd * np.exp(0.5 * log_variance) * return_rng.standard_normal(days)
    jumps = jump_rng.random(days) < parameters.number("coin_jump_rate_per_day")
    returns += jumps * parameters.number("coin_jump_sd") * size_rng.standard_normal(days)
    start = parameters.number("coin_start_usd") * np.exp(
        parameters.number("coin_start_log_sd") * start_rng.standard_normal()
    )
    returns[0] = 0.0
    return np.asarray(start * np.exp(np.cumsum(returns + parameters.number("coin_drift_per_day"))))


def _difficulty(
    rng: np.random.Generator, price_usd: Floats, reward_coin: Floats, parameters: GeneratorParameters
) -> Floats:
    """Difficulty in force at each hour: 2016-block windows, their length by the hash rate and by luck.

    The network's log hash rate grows with a drift plus a pull by the logarithm of revenue over its reference, and
    wanders; a window ends when its 2016 blocks are found (gamma luck), and the new difficulty follows the consensus
    rule from the window's first to its last block.
    """
    hours = len(price_usd)
    growth_rng, window_rng = rng.spawn(2)
    result = np.empty(hours)
    difficulty = parameters.number("difficulty_start")
    # The hash rate that would find a block every 600 s, with the window's first luck unknown.
    log_hash_rate = np.log(difficulty * HASHES_PER_DIFFICULTY / BTC_BLOCK_S)
    growth = parameters.number("hashrate_growth_per_h") + parameters.number("hashrate_noise_per_sqrt_h") * (
        growth_rng.standard_normal(hours)
    )
    pull = parameters.number("hashrate_pull_per_h")
    reference = parameters.number("hashprice_reference_usd_per_phs_day")
    begin_s = -float(window_rng.uniform(0.0, RETARGET_BLOCKS * BTC_BLOCK_S))
    luck = window_rng.gamma(RETARGET_BLOCKS - 1, 1.0 / (RETARGET_BLOCKS - 1))
    # Part of the window that lies before the first hour ran at the starting hash rate.
    done = -begin_s / (RETARGET_BLOCKS * BTC_BLOCK_S)
    for hour in range(hours):
        result[hour] = difficulty
        revenue = hashprice_usd_per_phs_day(reward_coin[hour], 0.0, price_usd[hour], difficulty)
        log_hash_rate += growth[hour] + pull * float(np.log(revenue / reference))
        need = difficulty * HASHES_PER_DIFFICULTY * RETARGET_BLOCKS * luck
        done += float(np.exp(log_hash_rate)) * SECONDS_PER_HOUR / need
        if done >= 1.0:
            end_s = (hour + 1) * SECONDS_PER_HOUR
            difficulty = next_difficulty(difficulty, round(begin_s), round(end_s))
            begin_s, done = end_s, 0.0
            luck = window_rng.gamma(RETARGET_BLOCKS - 1, 1.0 / (RETARGET_BLOCKS - 1))
    return result
