"""What reaches the miner of what it hashed: dev fee, rejects, stale shares, the pool's scheme and fee, and luck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from minesim.arrays import Array, Namespace
from minesim.economics.facts import fact_rows
from minesim.errors import ParamsError, explain, nearest, pick

NETWORK_STALE_FRACTION: Final = 0.0004
"""Blocks that lose a race: 17 seen between 2020-06 and 2021-03 (BitMEX list); at least 0.026 % in 2023 (arrivals)."""
DEV_FEE_FRACTION_LOW: Final = 0.018
DEV_FEE_FRACTION_HIGH: Final = 0.027
"""Share of the time that VNish firmware hashes for its maker."""


@dataclass(frozen=True)
class PayoutScheme:
    """How a pool shares what it finds.

    Attributes:
        name: PPS, FPPS, PPS+, PPLNS, PROP, SCORE or SOLO.
        pays_fees: whether transaction fees reach the miner.
        subsidy_luck, fee_luck: whether the pool's (or, solo, the miner's) luck moves that part of the miner's income.
        rule: in words.
    """

    name: str
    pays_fees: bool
    subsidy_luck: bool
    fee_luck: bool
    rule: str


def payout_scheme(name: str) -> PayoutScheme:
    """Find a payout scheme by name.

    Raises:
        ParamsError: no such scheme (nearest names suggested).
    """
    row = pick("payout scheme", name, {row["scheme"]: row for row in fact_rows("pool_payout_schemes")})
    return PayoutScheme(
        name=name,
        pays_fees=row["fees_paid_to_miner"] == "yes",
        subsidy_luck=row["subsidy_luck_risk_borne_by"] == "miner",
        fee_luck=row["fee_luck_risk_borne_by"] == "miner" and row["fees_paid_to_miner"] == "yes",
        rule=row["rule"],
    )


@dataclass(frozen=True)
class PoolTerms:
    """A payout scheme and its price.

    Attributes:
        scheme: name of a :class:`PayoutScheme`.
        fee_fraction: pool fee on the subsidy part.
        fee_on_fees_fraction: pool fee on the transaction-fee part; None takes ``fee_fraction`` (ViaBTC's PPS+ charges
            4 % on the subsidy and 2 % on fees).
        side_payment_fraction: share of the fee part that the pool keeps as payment outside blocks (sold
            acceleration; its overall size was not found, so 0 is assumed).
    """

    scheme: str = "FPPS"
    fee_fraction: float = 0.02
    fee_on_fees_fraction: float | None = None
    side_payment_fraction: float = 0.0

    def __post_init__(self) -> None:
        payout_scheme(self.scheme)
        for field in ("fee_fraction", "fee_on_fees_fraction", "side_payment_fraction"):
            value = getattr(self, field)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ParamsError(explain(f"{field} is {value}", allowed="0 to 1", origin=f"pool {self.scheme}"))


def pool_share(fee_share: Array, terms: PoolTerms) -> Array:
    """Expected share of the block reward (subsidy + fees) that the pool pays out.

    Args:
        fee_share: transaction fees over subsidy + fees, 0..1, any shape.
        terms: see there.

    Returns:
        Share, shape of ``fee_share``: ``(1 - s)(1 - f) + s (1 - f_fees)(1 - side)``, the second term only when the
        scheme pays fees.
    """
    fee_on_fees = terms.fee_fraction if terms.fee_on_fees_fraction is None else terms.fee_on_fees_fraction
    paid = (1.0 - fee_on_fees) * (1.0 - terms.side_payment_fraction) if payout_scheme(terms.scheme).pays_fees else 0.0
    return (1.0 - fee_share) * (1.0 - terms.fee_fraction) + fee_share * paid


def stale_fraction(latency_s: Array, block_time_s: float = 600.0, *, xp: Namespace) -> Array:
    """Share of the work done on an outdated block: ``1 - exp(-latency / block time)``.

    Blocks are a Poisson process and each new one makes the shares of the next ``latency_s`` worthless; a 1 s round
    trip loses 0.17 %.

    Args:
        latency_s: from the network's new block to the miner's new job, s, any shape.
        block_time_s: mean time between blocks, s.
    """
    return -xp.expm1(-latency_s / block_time_s)


def net_factor(
    pool_factor: Array, *, dev_fee_fraction: Array | float, reject_fraction: Array | float, lost_fraction: Array | float
) -> Array:
    """Expected income over gross expected revenue: the product of what each loss leaves; all broadcast.

    Args:
        pool_factor: share of the block reward that the pool pays out, from :func:`pool_share`.
        dev_fee_fraction: share of the time hashed for the firmware's maker (0.018 to 0.027).
        reject_fraction: shares the pool rejects for other reasons than being late.
        lost_fraction: work on outdated blocks, from :func:`stale_fraction`.
    """
    return pool_factor * (1.0 - dev_fee_fraction) * (1.0 - reject_fraction) * (1.0 - lost_fraction)


def luck_relative_std(expected_blocks: Array, *, xp: Namespace) -> Array:
    """Relative standard deviation of the blocks that a pool finds when it expects ``n``: ``1 / sqrt(n)`` (Poisson)."""
    return 1.0 / xp.sqrt(expected_blocks)


def income_relative_std(expected_blocks: Array, fee_share: Array, terms: PoolTerms, *, xp: Namespace) -> Array:
    """Relative standard deviation of a miner's income due to luck over a period.

    Args:
        expected_blocks: that the pool (SOLO: the miner) expects in the period.
        fee_share: transaction fees over subsidy + fees.
        terms: PPS and FPPS give 0, PPS+ the fee part only, PPLNS, PROP, SCORE and SOLO all.
    """
    scheme = payout_scheme(terms.scheme)
    total = pool_share(fee_share, terms)
    subsidy_part = (1.0 - fee_share) * (1.0 - terms.fee_fraction)
    exposed = (subsidy_part if scheme.subsidy_luck else 0.0) + (total - subsidy_part if scheme.fee_luck else 0.0)
    return exposed / total * luck_relative_std(expected_blocks, xp=xp)


def published_terms(pool: str, coin: str, scheme: str) -> PoolTerms:
    """Terms that a pool's own page listed (undated snapshots: examples, not today's prices).

    PPS+ shares transaction fees as PPLNS, at the pool's PPLNS fee.

    Raises:
        ParamsError: no such row.
    """
    fees = {
        (row["pool"], row["coin"], row["scheme"]): float(row["fee_pct"]) / 100.0 for row in fact_rows("pool_fee_terms")
    }
    if (pool, coin, scheme) not in fees:
        known = [" ".join(key) for key in fees]
        raise ParamsError(
            explain(
                f"no published terms of {pool!r} for {coin!r} by {scheme!r}",
                fix=nearest(f"{pool} {coin} {scheme}", known),
            )
        )
    shared_fees = fees.get((pool, coin, "PPLNS")) if scheme == "PPS+" else None
    return PoolTerms(scheme, fees[pool, coin, scheme], shared_fees)
