"""Settings of learning from a data set, typed and checked where they come in."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.rl.settings import ActionSettings, AgentSettings, TrackingSettings, Validation, discount_of_half_life
from minesim.errors import ParamsError, explain, nearest

ACTION_KINDS = ("direct", "shadow_price")


@dataclass
class LearnerSettings:
    """An IQL recipe (Kostrikov et al. 2021).

    Attributes:
        name: of the recipe.
        expectile: of the value function, 0.5 to 1; higher trusts the best outcomes seen more.
        temperature: how sharply good decisions are preferred, per standard deviation of the advantage; 0 imitates all.
        weight_max: largest weight of a decision.
        batch_size, learning_rate: of every network.
        target_rate: share of the critics that enters their slow copies with each update.
        max_grad_norm: largest norm of a gradient.
        nets: hidden sizes of policy, value and critics.
        activation: ``tanh``, ``relu`` or ``elu``.
        log_std_init: first spread of the policy, natural logarithm.
        half_life_h: time in which a reward loses half its weight, h.
        control_period_min: time between decisions; the actions in between repeat the numbers of the network.
        reward_clip: largest size of a scaled reward of a decision; 0 for no limit.
        actions: what the numbers of the network mean; see :mod:`agents.offline.decisions`.
    """

    name: str = "iql"
    expectile: float = 0.7
    temperature: float = 3.0
    weight_max: float = 100.0
    batch_size: int = 512
    learning_rate: float = 3e-4
    target_rate: float = 0.005
    max_grad_norm: float = 1.0
    nets: list[int] = field(default_factory=lambda: [64, 64])
    activation: str = "relu"
    log_std_init: float = -1.0
    half_life_h: float = 12.0
    control_period_min: float = 15.0
    reward_clip: float = 0.0
    actions: ActionSettings = field(default_factory=lambda: ActionSettings(kind="shadow_price"))

    def check(self) -> None:
        """Check ranges and names.

        Raises:
            ParamsError: a value is not possible; the message names it.
        """
        if self.actions.kind not in ACTION_KINDS:
            raise ParamsError(
                explain(
                    f"agent.actions.kind is {self.actions.kind!r}",
                    allowed=" or ".join(ACTION_KINDS),
                    fix=nearest(self.actions.kind, ACTION_KINDS),
                )
            )
        ranges = {
            "expectile": (0.5 <= self.expectile < 1.0, "0.5 to below 1"),
            "temperature": (self.temperature >= 0.0, "0 or more"),
            "weight_max": (self.weight_max > 0.0, "above 0"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "learning_rate": (self.learning_rate > 0.0, "above 0"),
            "target_rate": (0.0 < self.target_rate <= 1.0, "above 0, up to 1"),
            "max_grad_norm": (self.max_grad_norm > 0.0, "above 0"),
            "half_life_h": (self.half_life_h > 0.0, "above 0"),
            "reward_clip": (self.reward_clip >= 0.0, "0 or more"),
        }
        for name, (good, allowed) in ranges.items():
            if not good:
                raise ParamsError(explain(f"agent.{name} is {getattr(self, name)}", allowed=allowed))
        self.network().check()

    def network(self) -> AgentSettings:
        """Network and actions in the form that trained policies are described and loaded in."""
        return AgentSettings(
            name=self.name,
            batch_size=1,
            learning_rate=self.learning_rate,
            half_life_h=self.half_life_h,
            control_period_min=self.control_period_min,
            nets=list(self.nets),
            activation=self.activation,
            log_std_init=self.log_std_init,
            normalise_observations=True,
            actions=self.actions,
        )

    def discount(self) -> float:
        """Discount per decision."""
        return discount_of_half_life(self.half_life_h, self.control_period_min / 60.0)

    def scale(self) -> float:
        """Factor on the reward, which makes values of the order of a reward."""
        return 1.0 - self.discount()


@dataclass
class OfflineTrainer:
    """How long to learn, and how often to look and to save.

    Attributes:
        updates: gradient steps.
        device: ``cpu`` or ``cuda``; equal seeds give equal bits on the CPU only.
        threads: of torch.
        evaluate_every: updates between evaluations on the validation weeks; 0 for the end only.
        checkpoint_every: updates between checkpoints.
    """

    updates: int = 20_000
    device: str = "cpu"
    threads: int = 1
    evaluate_every: int = 5_000
    checkpoint_every: int = 2_500


@dataclass
class OfflineSettings:
    """Everything that the configuration of an offline run may say.

    Attributes:
        dataset: folder written by ``minesim data rollouts``.
        datasets: ids in it; empty for all.
        scenario, site, limits, difficulty: where policies are judged; the data must be of the same.
    """

    dataset: str = ""
    datasets: list[str] = field(default_factory=list)
    agent: LearnerSettings = field(default_factory=LearnerSettings)
    trainer: OfflineTrainer = field(default_factory=OfflineTrainer)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    validation: Validation = field(default_factory=Validation)
    scenario: str = "ercot/mixed"
    site: str = "container"
    limits: str = "seed"
    difficulty: str = "medium"
    seed: int = 0
    out: str = "outputs/offline"

    def check(self) -> None:
        """Check what types cannot.

        Raises:
            ParamsError: a value is not possible; the message names it.
        """
        self.agent.check()
        if not self.dataset:
            raise ParamsError(
                explain("no dataset is named", fix="Write one with minesim data rollouts and add dataset=FOLDER.")
            )
        for name, value, least in (("trainer.updates", self.trainer.updates, 1), ("seed", self.seed, 0)):
            if value < least:
                raise ParamsError(explain(f"{name} is {value}", allowed=f"{least} or more"))
