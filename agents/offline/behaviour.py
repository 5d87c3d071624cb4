"""Who acts in a data set: a rule or a learned policy, plain or with noise drawn from the episode's seed alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agents.rl.actions import ShadowPrice, build_rule, knowledge_of
from minesim.control.policy import Policy
from minesim.envs.core import World
from minesim.errors import ParamsError, explain, nearest

Floats = NDArray[np.floating]

NOISE_KINDS = ("price", "action")
BLOCK_MIN = 60.0
"""Length of a block of random prices, min (assumed: long enough for a start and what it earns)."""
HOLD_MIN = 15.0
"""An action's walk moves this often, min: the settlement interval, and the usual control period of a learner."""
CORRELATION_MIN = 60.0
"""Time in which an action's walk forgets all but 1/e of itself, min (assumed)."""
PRICE_MAX_USD_PER_MWH = 5000.0
"""Largest random adder of either sign (assumed; that of the learners' action)."""


class Noise(Protocol):
    """A disturbance of actions.

    Attributes:
        text: what it does, for the record.
    """

    text: str

    def draw(self, rng: np.random.Generator, steps: int) -> Floats:
        """All draws of one episode, (steps, n)."""
        ...

    def apply(self, observation: Floats, action: Floats, drawn: Floats) -> Floats:
        """Actions (B, n_act) that are taken instead, from the draws (B, n) of this step."""
        ...


class NoNoise:
    """The policy as it is."""

    text = "none"

    def draw(self, rng: np.random.Generator, steps: int) -> Floats:
        """Nothing."""
        return np.zeros((steps, 0))

    def apply(self, observation: Floats, action: Floats, drawn: Floats) -> Floats:
        """The action itself."""
        return action


class PriceBlocks:
    """In a share of hour-long blocks the fleet acts on a random price instead, and offers a random reserve.

    In such a block every cohort takes the preset that earns most at the energy price plus an adder, which is uniform on
    a symmetric logarithmic scale; what a learner can do with a price adder is thereby tried out.

    Args:
        share: of blocks, 0 to 1.
        world: site and tariff.
    """

    def __init__(self, share: float, world: World) -> None:
        self.share = share
        self.actions = ShadowPrice(knowledge_of(world), PRICE_MAX_USD_PER_MWH, per_cohort=False)
        self.block = _whole(BLOCK_MIN, world)
        self.text = (
            f"in {share:g} of blocks of {BLOCK_MIN:g} min the best presets at the energy price plus a random adder "
            f"within {PRICE_MAX_USD_PER_MWH:g} USD/MWh (uniform on a symmetric log scale) and a random reserve offer"
        )

    def draw(self, rng: np.random.Generator, steps: int) -> Floats:
        """Numbers of the price action, NaN where the policy acts, (steps, n)."""
        blocks = -(-steps // self.block)
        random = rng.random(blocks) < self.share
        numbers = rng.uniform(-1.0, 1.0, (blocks, self.actions.size))
        return np.repeat(np.where(random[:, None], numbers, np.nan), self.block, axis=0)[:steps]

    def apply(self, observation: Floats, action: Floats, drawn: Floats) -> Floats:
        """The action at the random price where there is one."""
        random = np.isfinite(drawn[:, 0])
        if not random.any():
            return action
        return np.where(random[:, None], self.actions.action(observation, np.nan_to_num(drawn)), action)


class ActionWalk:
    """An Ornstein-Uhlenbeck process is added to every number of the action, clipped to [-1, 1].

    Args:
        sd: stationary standard deviation, in units of the action.
        world: site and tariff.
    """

    def __init__(self, sd: float, world: World) -> None:
        self.sd, self.size = sd, world.action_size
        self.hold = _whole(HOLD_MIN, world)
        self.text = (
            f"Ornstein-Uhlenbeck noise on every number of the action, standard deviation {sd:g}, correlation time "
            f"{CORRELATION_MIN:g} min, held for {HOLD_MIN:g} min"
        )

    def draw(self, rng: np.random.Generator, steps: int) -> Floats:
        """Path of the process, (steps, n_act)."""
        moves = -(-steps // self.hold)
        kept = np.exp(-HOLD_MIN / CORRELATION_MIN)
        shocks = self.sd * rng.standard_normal((moves, self.size))
        path = np.empty_like(shocks)
        path[0] = shocks[0]
        for k in range(1, moves):
            path[k] = kept * path[k - 1] + np.sqrt(1.0 - kept * kept) * shocks[k]
        return np.repeat(path, self.hold, axis=0)[:steps]

    def apply(self, observation: Floats, action: Floats, drawn: Floats) -> Floats:
        """Action plus the process."""
        return np.clip(action + drawn, -1.0, 1.0)


@dataclass(frozen=True)
class Behaviour:
    """Who acts.

    Attributes:
        name: of the data set, letters, digits and underscores.
        policy: sees observations only.
        noise: what disturbs it.
    """

    name: str
    policy: Policy
    noise: Noise


def behaviours(
    world: World, policies: tuple[str, ...], learned: str | Path | None, noise: float, noise_kind: str
) -> list[Behaviour]:
    """Every policy plain and, with ``noise`` above 0, once more with noise.

    Args:
        world: site and tariff, of training.
        policies: names of rules, with their tuned parameters.
        learned: folder of a training run, None for none.
        noise: share of random blocks (``price``) or standard deviation (``action``).
        noise_kind: ``price`` or ``action``.

    Raises:
        ParamsError: unknown rule or kind, no policy at all, or a learned policy of another site or tariff.
        DataFileError: no training run in that folder.
        MissingExtraError: a learned policy without stable-baselines3.
    """
    if noise_kind not in NOISE_KINDS:
        raise ParamsError(explain(f"no noise kind {noise_kind!r}", fix=nearest(noise_kind, NOISE_KINDS)))
    if not 0.0 <= noise <= 1.0:
        raise ParamsError(explain(f"noise is {noise:g}", allowed="0 to 1"))
    if not policies and learned is None:
        raise ParamsError(explain("no policy is named", fix="Name rules, a training run, or both."))
    makers: list[tuple[str, Callable[[], Policy]]] = [
        (name, partial(build_rule, name, world)) for name in dict.fromkeys(policies)
    ]
    if learned is not None:
        folder = Path(learned)
        makers.append((f"learned_{folder.resolve().name}", partial(_learned, folder, world)))
    found = []
    for name, make in makers:
        label = re.sub(r"\W+", "_", name)
        found.append(Behaviour(label, make(), NoNoise()))
        if noise > 0.0:
            kind: Noise = PriceBlocks(noise, world) if noise_kind == "price" else ActionWalk(noise, world)
            found.append(Behaviour(f"{label}_noisy", make(), kind))
    return found


def _learned(folder: Path, world: World) -> Policy:
    from agents.rl.policy import load_policy

    return load_policy(folder, world)


def _whole(period_min: float, world: World) -> int:
    """Control steps in a period, at least one."""
    return max(1, round(period_min * 60.0 / world.config.dt_ctrl_s))
