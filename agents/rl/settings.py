"""Settings of a training run, typed and checked where they come in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from minesim.errors import ParamsError, explain, nearest

ACTION_KINDS = ("direct", "residual", "rule_price", "shadow_price")
ON_A_RULE = ("residual", "rule_price")
"""Kinds of actions whose zeros are a rule with its tuned parameters."""
BEST_RULE = "best"
CONSTRAINT_KINDS = ("none", "penalty", "lagrangian")
ACTIVATIONS = ("tanh", "relu", "elu")
TRAINERS = ("sb3", "batched")


@dataclass
class ActionSettings:
    """What the numbers of the network mean.

    Attributes:
        kind: ``direct`` sets each cohort's action; ``residual`` is added to a rule's action; ``rule_price`` is an adder
            to the present energy price that a rule reads; ``shadow_price`` is an adder to the energy price that the
            myopic rule then acts on.
        rule: rule of a residual or a rule's price. ``best`` is the one that earned most on validation weeks: in a
            benchmark among the rules tuned there, else by the packaged record.
        scale: of a residual, in units of the action; 2 reaches every action from every rule action.
        price_max_usd_per_mwh: largest adder of either sign (assumed).
        per_cohort: one adder per cohort instead of one for the site.
        params: parameters of the rule; tuned ones where there are none.
    """

    kind: str = "direct"
    rule: str = BEST_RULE
    scale: float = 1.0
    price_max_usd_per_mwh: float = 5000.0
    per_cohort: bool = False
    params: dict[str, float] = field(default_factory=dict)


@dataclass
class WarmStart:
    """Initialise the policy by imitating a rule.

    Attributes:
        rule: whose actions to imitate; empty for none.
        days: of its experience, per environment.
        envs: environments that collect it.
        epochs: passes over the experience.
    """

    rule: str = ""
    days: float = 2.0
    envs: int = 64
    epochs: int = 8


@dataclass
class Constraint:
    """How the constraint cost of the task enters the reward.

    Attributes:
        kind: ``none``, ``penalty`` (fixed weight) or ``lagrangian`` (weight follows the cost).
        weight: weight of a penalty, first weight of a Lagrangian, reward per unit of cost.
        limit: mean cost per control step that a Lagrangian aims at.
        step: change of the weight per training iteration and unit of excess cost.
    """

    kind: str = "none"
    weight: float = 0.0
    limit: float = 1e-3
    step: float = 10.0


@dataclass
class Stage:
    """A stage of a curriculum: difficulty of the world for so many control steps."""

    difficulty: str = "medium"
    steps: int = 0


@dataclass
class AgentSettings:
    """A PPO recipe.

    Attributes:
        name: of the recipe.
        envs: environments side by side.
        n_steps: decisions of each environment per training iteration.
        batch_size, epochs, learning_rate, gae_lambda, clip_range, ent_coef, vf_coef, max_grad_norm: as in
            stable-baselines3.
        target_kl: None for none; with the trainer ``sb3`` it ends an iteration's epochs early, with ``batched`` it
            steers the learning rate.
        gamma: discount per decision; when None it follows from ``half_life_h``.
        half_life_h: time in which a reward loses half its weight, h.
        control_period_min: time between decisions; the actions in between repeat the numbers of the network.
        nets: hidden sizes of policy and value network.
        activation: ``tanh``, ``relu`` or ``elu``.
        lstm_size: hidden numbers of an LSTM between observation and nets, one each for policy and value; 0 for none.
        log_std_init: logarithm of the first exploration noise.
        normalise_observations: running mean and deviation, kept inside the policy.
        reward_scale: factor on the reward; when None 1 - gamma, which makes values of the order of a reward.
        reward_clip: largest size of a scaled reward; 0 for no limit.
        yardstick: whether the rule of the actions runs a second batch on the same draws, and what it earns is
            subtracted from the reward (:class:`agents.rl.sites.Yardstick`).
        frozen_iterations: first iterations that train the value network only.
        actions, warm_start, constraint, curriculum: see their types; without stages the run's difficulty is taken.
    """

    name: str = "ppo"
    envs: int = 256
    n_steps: int = 64
    batch_size: int = 4096
    epochs: int = 4
    learning_rate: float = 3e-4
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    gamma: float | None = None
    half_life_h: float = 24.0
    control_period_min: float = 5.0
    nets: list[int] = field(default_factory=lambda: [64, 64])
    activation: str = "tanh"
    lstm_size: int = 0
    log_std_init: float = 0.0
    normalise_observations: bool = True
    reward_scale: float | None = None
    reward_clip: float = 0.0
    yardstick: bool = False
    frozen_iterations: int = 0
    actions: ActionSettings = field(default_factory=ActionSettings)
    warm_start: WarmStart = field(default_factory=WarmStart)
    constraint: Constraint = field(default_factory=Constraint)
    curriculum: list[Stage] = field(default_factory=list)

    def check(self) -> None:
        """Check ranges and names.

        Raises:
            ParamsError: a value is not possible; the message names it.
        """
        _one_of("actions.kind", self.actions.kind, ACTION_KINDS)
        _one_of("constraint.kind", self.constraint.kind, CONSTRAINT_KINDS)
        _one_of("activation", self.activation, ACTIVATIONS)
        for name in ("envs", "n_steps", "batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise ParamsError(explain(f"agent.{name} is {getattr(self, name)}", allowed="1 or more"))
        if self.batch_size > self.envs * self.n_steps:
            raise ParamsError(
                explain(
                    f"agent.batch_size is {self.batch_size}",
                    allowed=f"up to envs x n_steps = {self.envs * self.n_steps}",
                    fix="Lower batch_size, or raise envs or n_steps.",
                )
            )
        if self.gamma is not None and not 0.0 <= self.gamma < 1.0:
            raise ParamsError(explain(f"agent.gamma is {self.gamma}", allowed="0 to below 1, per decision"))
        if self.gamma is None and not self.half_life_h > 0.0:
            raise ParamsError(explain(f"agent.half_life_h is {self.half_life_h} h", allowed="above 0"))
        if self.learning_rate <= 0.0:
            raise ParamsError(explain(f"agent.learning_rate is {self.learning_rate}", allowed="above 0"))
        if self.lstm_size < 0:
            raise ParamsError(explain(f"agent.lstm_size is {self.lstm_size}", allowed="0 for none, or more"))
        if self.lstm_size and self.warm_start.rule:
            raise ParamsError(
                explain(
                    f"agent.warm_start.rule is {self.warm_start.rule!r} with lstm_size {self.lstm_size}",
                    allowed="a warm start of networks without memory",
                    fix="Take actions.kind=residual to begin a recurrent policy at a rule.",
                )
            )
        if self.warm_start.rule and self.actions.kind != "direct":
            raise ParamsError(
                explain(
                    f"agent.warm_start.rule is {self.warm_start.rule!r} with actions.kind {self.actions.kind!r}",
                    allowed="a warm start of direct actions",
                    fix="A residual begins at its rule anyhow; leave warm_start.rule empty.",
                )
            )

    def discount(self) -> float:
        """Discount per decision."""
        if self.gamma is not None:
            return self.gamma
        return discount_of_half_life(self.half_life_h, self.control_period_min / 60.0)

    def scale(self) -> float:
        """Factor on the reward of a control step."""
        return self.reward_scale if self.reward_scale is not None else 1.0 - self.discount()

    def repeat(self, dt_ctrl_s: float) -> int:
        """Control steps per decision.

        Raises:
            ParamsError: the control period is no whole number of control steps.
        """
        ratio = self.control_period_min * 60.0 / dt_ctrl_s
        if ratio < 1.0 - 1e-9 or abs(ratio - round(ratio)) > 1e-9:
            raise ParamsError(
                explain(
                    f"agent.control_period_min is {self.control_period_min} min",
                    allowed=f"whole multiples of the control step of {dt_ctrl_s:g} s",
                )
            )
        return round(ratio)


def discount_of_half_life(half_life_h: float, period_h: float) -> float:
    """Discount per decision under which a reward ``half_life_h`` ahead counts half.

    >>> round(discount_of_half_life(5.747, 5.0 / 60.0), 4)
    0.99
    """
    return float(0.5 ** (period_h / half_life_h))


def half_life_of_discount(gamma: float, period_h: float) -> float:
    """Inverse of :func:`discount_of_half_life`, h."""
    return math.inf if gamma >= 1.0 else period_h * math.log(0.5) / math.log(gamma)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParamsError(explain(f"agent.{name} {value!r} is unknown", fix=nearest(value, known)))


@dataclass
class TaskSettings:
    """What is rewarded and for how long; see :class:`minesim.tasks.hashrate.HashrateTask`."""

    name: str = "hashrate"
    reward: str = "profit"
    temp_chip_limit_c: float = 80.0
    power_change_limit: float = 0.2
    episode_days: float = 7.0
    dt_ctrl_s: float = 300.0


@dataclass
class TrainerSettings:
    """How long to train, and how often to look and to save.

    Attributes:
        name: ``sb3`` (stable-baselines3 over the numpy batch) or ``batched`` (rsl-rl over the torch batch).
        steps: control steps of all environments together; 0 takes the sum of the curriculum.
        device: ``cpu`` or ``cuda``; equal seeds give equal bits on the CPU only.
        threads: of torch.
        compiled: run the twin compiled by torch (needs a C++ compiler, for a GPU Triton; falls back without): several
            times faster after the first seconds. The state is then float32 with either trainer.
        evaluate_every: control steps between evaluations on the validation weeks; 0 for the end only.
        checkpoint_every: control steps between checkpoints.
    """

    name: str = "sb3"
    steps: int = 0
    device: str = "cpu"
    threads: int = 1
    compiled: bool = False
    evaluate_every: int = 1_000_000
    checkpoint_every: int = 500_000


@dataclass
class TrackingSettings:
    """Where curves go beside ``progress.jsonl``, which is always written.

    Attributes:
        kind: ``none``, ``tensorboard`` or ``wandb``.
        project: of W&B.
        mode: of W&B: ``offline``, ``online`` or ``disabled``.
    """

    kind: str = "none"
    project: str = "minesim"
    mode: str = "offline"


@dataclass
class Validation:
    """Weeks on which the policy is judged during training; they must lie in the split ``validation``."""

    first: str = "2023-01-07"
    weeks: int = 25
    every: int = 2
    seeds: list[int] = field(default_factory=lambda: [0])
    rules: list[str] = field(default_factory=lambda: ["always_stock", "threshold", "myopic_best_preset"])


@dataclass
class TrainSettings:
    """Everything that the configuration of a training run may say."""

    task: TaskSettings = field(default_factory=TaskSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    validation: Validation = field(default_factory=Validation)
    scenario: str = "ercot/4cp"
    site: str = "container"
    limits: str = "seed"
    difficulty: str = "medium"
    seed: int = 0
    out: str = "outputs/train"

    def check(self) -> None:
        """Check what types cannot.

        Raises:
            ParamsError: a value is not possible; the message names it.
        """
        _one_of_all("task.name", self.task.name, ("hashrate",))
        _one_of_all("trainer.name", self.trainer.name, TRAINERS)
        _one_of_all("tracking.kind", self.tracking.kind, ("none", "tensorboard", "wandb"))
        _one_of_all("tracking.mode", self.tracking.mode, ("offline", "online", "disabled"))
        self.agent.check()
        if self.trainer.name == "batched" and self.agent.lstm_size:
            raise ParamsError(
                explain(
                    f"agent.lstm_size is {self.agent.lstm_size} with trainer.name 'batched'",
                    allowed="0",
                    fix="Take trainer=sb3 for recurrent policies.",
                )
            )
        if self.trainer.threads < 1:
            raise ParamsError(explain(f"trainer.threads is {self.trainer.threads}", allowed="1 or more"))
        if self.seed < 0:
            raise ParamsError(explain(f"seed is {self.seed}", allowed="0 or more"))
        if self.total_steps() < 1:
            raise ParamsError(
                explain(f"trainer.steps is {self.trainer.steps}", allowed="1 or more, or 0 with a curriculum")
            )

    def total_steps(self) -> int:
        """Control steps to train for."""
        return self.trainer.steps or sum(stage.steps for stage in self.agent.curriculum)

    def stages(self) -> list[Stage]:
        """Stages with their control steps; a curriculum is stretched to ``trainer.steps`` where these are given."""
        if not self.agent.curriculum:
            return [Stage(self.difficulty, self.total_steps())]
        ratio = self.total_steps() / max(1, sum(stage.steps for stage in self.agent.curriculum))
        return [Stage(stage.difficulty, round(stage.steps * ratio)) for stage in self.agent.curriculum]


def _one_of_all(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParamsError(explain(f"{name} {value!r} is unknown", fix=nearest(value, known)))
