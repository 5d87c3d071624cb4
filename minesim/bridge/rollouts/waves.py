"""Who runs the candidate: the plan of a rollout, waves of miners, and turns of a whole site in time."""

from __future__ import annotations

import enum
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minesim.errors import ParamsError, explain

HOLDBACK = "holdback"
BLOCK_PERIODS = 10
"""Periods of one block of a switchback, and the fewest miners that can be split into waves."""


class Design(enum.StrEnum):
    """What serves as control."""

    HOLDBACK = "holdback"
    SWITCHBACK = "switchback"


@dataclass(frozen=True)
class RolloutPlan:
    """How a candidate is rolled out.

    Attributes:
        seed: of the assignment.
        design: what serves as control.
        shares: share of miners (or of periods) that run the candidate in each phase, rising; the last one leaves out
            the holdback.
        holdback: share that never gets it, 0.05 to 0.5.
        period_s: length of a compared period, s.
        baseline_periods: periods of the baseline; none in a switchback, whose groups are the same miners.
        phase_min_s: least time of a phase, s.
        margin: loss that is accepted without proof of none, share of rated revenue (assumed).
        peak_margin: how much higher the candidate's own peak per rated kW may be, share (assumed); None where no
            demand charge is paid.
        alpha: how often a rollout without true loss may turn back, and a phase with a loss of the margin advance.
        clear_s: how long conditions must be gone before a held rollout goes on, s.
    """

    seed: int
    design: Design = Design.HOLDBACK
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 1.0)
    holdback: float = 0.1
    period_s: float = 86400.0
    baseline_periods: int = 14
    phase_min_s: float = 3 * 86400.0
    margin: float = 0.01
    peak_margin: float | None = 0.05
    alpha: float = 0.05
    clear_s: float = 3600.0

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.shares, self.shares[1:], strict=False))
        if not self.shares or not rising or self.shares[0] <= 0.0 or self.shares[-1] > 1.0:
            raise ParamsError(explain(f"shares are {self.shares}", allowed="rising, above 0 to at most 1"))
        if not 0.05 <= self.holdback <= 0.5:
            raise ParamsError(explain(f"holdback is {self.holdback}", allowed="0.05 to 0.5"))
        for name in ("period_s", "margin", "peak_margin"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ParamsError(explain(f"{name} is {value}", allowed="above 0"))
        if not 0.0 < self.alpha < 1.0:
            raise ParamsError(explain(f"alpha is {self.alpha}", allowed="between 0 and 1"))
        if self.phase_min_s < 0.0 or self.clear_s < 0.0:
            raise ParamsError(explain("phase_min_s and clear_s are times", allowed="0 or more"))
        if self.design is Design.HOLDBACK and self.baseline_periods < 2:
            raise ParamsError(
                explain(
                    f"baseline_periods is {self.baseline_periods}",
                    allowed="2 or more",
                    fix="Two groups of miners differ without any candidate; the baseline measures by how much.",
                )
            )

    def candidate_share(self, phase: int) -> float:
        """Share that runs the candidate in a phase; -1 is the baseline."""
        return 0.0 if phase < 0 else min(self.shares[phase], 1.0 - self.holdback)


def assign(
    models: Mapping[str, str], plan: RolloutPlan, before: Mapping[str, str] | None = None, phase: int = -1
) -> dict[str, str]:
    """Give each miner its wave: ``holdback``, or the number of the phase in which it gets the candidate.

    Miners keep their wave, also those that are away. Newcomers join the wave that lacks most in their model. If too few
    of those present are held back, miners of the latest waves become holdback: first of those not reached yet.

    Args:
        models: miners of the inventory -> model; one that is silent for a while is still of it.
        plan: seed and shares.
        before: earlier assignment.
        phase: present phase, so that the holdback is refilled from later waves.

    Returns:
        Waves of all miners present or assigned before.

    Raises:
        ParamsError: too few miners to begin with.
    """
    if before is None and len(models) < BLOCK_PERIODS:
        raise ParamsError(
            explain(
                f"{len(models)} miners are too few for waves and a holdback",
                allowed=f"{BLOCK_PERIODS} or more",
                fix="Use the switchback design, which alternates the whole site in time.",
            )
        )
    waves = dict(before or {})
    share = _wave_shares(plan)
    in_model: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(share, 0))
    overall = dict.fromkeys(share, 0)
    for miner, model in models.items():
        if miner in waves:
            in_model[model][waves[miner]] += 1
            overall[waves[miner]] += 1
    for miner in sorted(models, key=lambda name: (models[name], _draw(plan.seed, name))):
        if miner in waves:
            continue
        counts = in_model[models[miner]]
        total, all_total = 1 + sum(counts.values()), 1 + sum(overall.values())
        lacks = {
            wave: (round(part * total - counts[wave], 9) + round(part * all_total - overall[wave], 9))
            for wave, part in share.items()
        }
        wave = max(lacks, key=lacks.__getitem__)
        waves[miner] = wave
        counts[wave] += 1
        overall[wave] += 1
    return _refill_holdback(waves, models, plan, phase)


def reached(wave: str, phase: int) -> bool:
    """Whether a wave runs the candidate in a phase."""
    return wave != HOLDBACK and int(wave) <= phase


def _wave_shares(plan: RolloutPlan) -> dict[str, float]:
    """Wave -> share of miners; the holdback first, so that it wins ties."""
    shares = [plan.candidate_share(phase) for phase in range(len(plan.shares))]
    steps = [later - earlier for earlier, later in zip([0.0, *shares], shares, strict=False)]
    return {HOLDBACK: 1.0 - shares[-1], **{str(phase): step for phase, step in enumerate(steps) if step > 0.0}}


def _refill_holdback(waves: dict[str, str], models: Mapping[str, str], plan: RolloutPlan, phase: int) -> dict[str, str]:
    needed = math.ceil(plan.holdback * len(models) - 1e-9) - sum(waves[miner] == HOLDBACK for miner in models)
    if needed > 0:
        others = [miner for miner in models if waves[miner] != HOLDBACK]
        others.sort(key=lambda name: (int(waves[name]) <= phase, -int(waves[name]), _draw(plan.seed, name)))
        waves |= dict.fromkeys(others[:needed], HOLDBACK)
    return waves


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def split_by_arm(total_w: float, rated_w: Mapping[str, float], candidates: Iterable[str]) -> tuple[float, float]:
    """Share a cap or a ramp between candidate and control by rated power, so that neither lives off the other.

    Args:
        total_w: of the site, W.
        rated_w: miner -> rated power, W.
        candidates: miners that run the candidate.

    Returns:
        Candidate's and control's share, W; they sum to ``total_w``.
    """
    site_w = sum(rated_w.values())
    share = sum(rated_w[miner] for miner in candidates) / site_w if site_w > 0.0 else 0.0
    return total_w * share, total_w * (1.0 - share)


def switchback_candidate(plan: RolloutPlan, phase: int, at_s: float) -> bool:
    """Whether the whole site runs the candidate at a time: a drawn set of each ten periods, never all or none."""
    index = math.floor(at_s / plan.period_s)
    block, place = divmod(index, BLOCK_PERIODS)
    chosen = min(BLOCK_PERIODS - 1, max(1, round(plan.candidate_share(phase) * BLOCK_PERIODS)))
    order = sorted(range(BLOCK_PERIODS), key=lambda slot: _draw(plan.seed, f"{block}:{slot}"))
    return place in order[:chosen]
