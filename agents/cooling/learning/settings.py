"""Settings of a training run for cooled halls, typed and checked where they come in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from agents.rl.settings import TrackingSettings, discount_of_half_life
from minesim.envs.cooling_core import CoolingConfig, CoolingWorld, build_cooling_world
from minesim.errors import ParamsError, explain, nearest
from minesim.scenario.climates import climate

DIRECT, ON_RULE = "direct", "on_rule"
FLAT, GRAPH = "flat", "graph"


@dataclass
class SacSettings:
    """A recipe of soft actor-critic.

    Attributes:
        name: of the recipe.
        actions: ``direct``: the network's numbers are the action; ``on_rule``: they are added to that of the cheapest
            steady setting, so that zeros are the rule.
        scale: of what is added, in units of the action.
        yardstick: subtract from the reward what that rule earns on the same draws, which takes most of the weather and
            the price out of it.
        shielded: whether the shield lies between learner and halls.
        fine_usd: taken from the reward for each limit broken in a step.
        reward_limit_usd: what a step is paid is held within this on either side, so that an hour of a price spike does
            not outweigh weeks; None: not held.
        reward_scale: factor on USD.
        envs: halls side by side.
        episode_days: of training; an end of an episode is no end of a hall's life.
        updates: of the networks after each step of all halls.
        batch_size, learning_rate, tau, buffer_size: as in stable-baselines3.
        gamma: discount per control step; when None it follows from ``half_life_h``.
        half_life_h: time in which a reward loses half its weight, h.
        entropy_start: weight of the entropy at first; it is learned.
        learning_starts: steps of all halls together before the first update.
        nets: hidden sizes of actor and critics.
        network: ``flat``: they read the observation as a list; ``graph``: as nodes at their places, see
            :class:`agents.cooling.learning.graph.GraphFeatures`.
        width, rounds: numbers of a node, and rounds of messages, of a graph.
    """

    name: str = "sac"
    actions: str = ON_RULE
    scale: float = 1.0
    yardstick: bool = True
    shielded: bool = True
    fine_usd: float = 1.0
    reward_limit_usd: float | None = None
    reward_scale: float = 10.0
    envs: int = 32
    episode_days: float = 2.0
    updates: int = 4
    batch_size: int = 256
    learning_rate: float = 3e-4
    tau: float = 0.005
    buffer_size: int = 200_000
    gamma: float | None = None
    half_life_h: float = 2.0
    entropy_start: float = 1.0
    learning_starts: int = 4_000
    nets: list[int] = field(default_factory=lambda: [256, 256])
    network: str = FLAT
    width: int = 24
    rounds: int = 2

    def discount(self, dt_s: float) -> float:
        """Discount per control step."""
        return discount_of_half_life(self.half_life_h, dt_s / 3600.0) if self.gamma is None else self.gamma

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError: the message names the value.
        """
        if self.actions not in (DIRECT, ON_RULE):
            raise ParamsError(
                explain(f"agent.actions {self.actions!r} is unknown", fix=nearest(self.actions, (DIRECT, ON_RULE)))
            )
        if self.network not in (FLAT, GRAPH):
            raise ParamsError(
                explain(f"agent.network {self.network!r} is unknown", fix=nearest(self.network, (FLAT, GRAPH)))
            )
        for name in ("envs", "updates", "batch_size", "buffer_size", "learning_starts", "width", "rounds"):
            if getattr(self, name) < 1:
                raise ParamsError(explain(f"agent.{name} is {getattr(self, name)}", allowed="1 or more"))
        for name in ("scale", "reward_scale", "entropy_start", "learning_rate", "tau", "half_life_h", "episode_days"):
            value = getattr(self, name)
            if not (value > 0.0 and math.isfinite(value)):
                raise ParamsError(explain(f"agent.{name} is {value}", allowed="above 0"))
        if self.gamma is not None and not 0.0 <= self.gamma < 1.0:
            raise ParamsError(explain(f"agent.gamma is {self.gamma}", allowed="0 to below 1, per control step"))
        if self.reward_limit_usd is not None and not self.reward_limit_usd > 0.0:
            raise ParamsError(explain(f"agent.reward_limit_usd is {self.reward_limit_usd} USD", allowed="above 0"))
        if self.fine_usd < 0.0:
            raise ParamsError(explain(f"agent.fine_usd is {self.fine_usd} USD", allowed="0 or more"))


@dataclass
class TrainCoolingSettings:
    """A training run.

    Attributes:
        agent: the recipe.
        climate: where.
        layout_name: of the hall.
        noise_k, bias_k, drop_out: errors of the air sensors (assumed), as in the benchmark.
        steps: control steps of all halls together.
        evaluate_every: of such steps, between judgements on validation weeks.
        validation_every: every so many weeks of validation are judged on.
        fine_usd: what a broken limit in a step counts in a judgement.
        seed, threads: of the run; threads of torch.
        tracking: curves beside ``progress.jsonl``.
        out: folder of runs.
    """

    agent: SacSettings = field(default_factory=SacSettings)
    climate: str = "dallas"
    layout_name: str = "container_40ft"
    noise_k: float = 0.2
    bias_k: float = 0.3
    drop_out: float = 0.01
    steps: int = 100_000
    evaluate_every: int = 50_000
    validation_every: int = 4
    fine_usd: float = 5.0
    seed: int = 0
    threads: int = 1
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    out: str = "outputs/train_cooling"

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError, ScenarioError: the message names the value.
        """
        self.agent.check()
        climate(self.climate)
        for name in ("steps", "evaluate_every", "validation_every", "threads"):
            if getattr(self, name) < 1:
                raise ParamsError(explain(f"{name} is {getattr(self, name)}", allowed="1 or more"))
        if self.seed < 0:
            raise ParamsError(explain(f"seed is {self.seed}", allowed="0 or more"))

    def world(self, episode_days: float) -> CoolingWorld:
        """Hall and task, episodes of so many days."""
        return build_cooling_world(
            CoolingConfig(
                layout_name=self.layout_name,
                scenario=self.climate,
                noise_k=self.noise_k,
                bias_k=self.bias_k,
                drop_out=self.drop_out,
                episode_days=episode_days,
                split="train",
            )
        )
