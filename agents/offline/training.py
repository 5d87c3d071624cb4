"""Learn from a data set, some updates at a time; between them the run is judged, saved, stopped and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.offline.decisions import read_decisions
from agents.offline.iql import IQL, Batch
from agents.offline.settings import OfflineSettings
from agents.rl.actions import build_actions
from agents.rl.checkpoint import save_checkpoint, save_weights
from agents.rl.evaluation import Judge
from agents.rl.network import make_network, normalisation
from agents.rl.policy import BEST, LAST, TrainedPolicy, describe_policy
from agents.rl.resumable import ResumableTraining
from agents.rl.tracking import Trackers
from agents.rl.training import Evaluation, Outcome
from minesim.bench.files import content_hash
from minesim.envs.core import EnvConfig, World, build_world

CHUNK = 250
"""Updates between two rests."""
ROWS_STREAM = 0x10105


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for a progress bar."""

    steps: int
    total: int
    best_usd_per_week: float


def judged_world(settings: OfflineSettings) -> World:
    """World of weeks, in which policies are judged."""
    return build_world(
        EnvConfig(
            scenario=settings.scenario,
            site=settings.site,
            limits=settings.limits,
            difficulty=settings.difficulty,
            split=None,
            episode_days=7.0,
        )
    )


class OfflineTraining(ResumableTraining[Outcome, Progress]):
    """A run that learns from data; its steps are updates.

    The folder's name has the hash of settings and data, but not of how long it learns.

    Args:
        settings: checked settings.
        world: site and tariff; :func:`judged_world` by default.
        judge: how policies are judged; None judges none.
        tell: for notices.

    Raises:
        DataFileError: the data are missing, damaged or of another period.
        ParamsError: settings that cannot be met, or data of another scenario or site.
        MissingExtraError: Minari is not installed.
    """

    def __init__(
        self,
        settings: OfflineSettings,
        world: World | None = None,
        judge: Judge | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        settings.check()
        self.settings, self.agent = settings, settings.agent
        self.world = judged_world(settings) if world is None else world
        self.judge = judge
        self.decisions = read_decisions(settings.dataset, settings.datasets, self.world, self.agent)
        trainer = settings.trainer
        super().__init__(
            settings,
            self._folder(),
            Outcome(),
            trainer.updates,
            evaluate_every=trainer.evaluate_every,
            checkpoint_every=trainer.checkpoint_every,
            tell=tell,
        )
        self.learner: IQL

    def _folder(self) -> Path:
        content = asdict(self.settings)
        for key in ("out", "tracking", "dataset", "datasets"):
            del content[key]
        for key in ("evaluate_every", "checkpoint_every", "updates"):
            del content["trainer"][key]
        digest = content_hash({**content, "data": self.decisions.fingerprint()})[:8]
        place = self.settings.scenario.replace("/", "_")
        return Path(self.settings.out) / f"hashrate-{self.agent.name}-{place}-s{self.settings.seed}-{digest}"

    # ------------------------------------------------------------------ run

    def _iterate(self) -> dict[str, float]:
        """Updates up to the next rest; the rows follow from seed and number of the update alone."""
        number, skipped = divmod(self.outcome.steps, CHUNK)
        rng = np.random.default_rng([ROWS_STREAM, self.settings.seed, number])
        rows = rng.integers(0, len(self.decisions.first), (CHUNK, self.agent.batch_size))
        rows = rows[skipped : skipped + self.total - self.outcome.steps]
        self.learner.network.set_training_mode(True)
        values: dict[str, torch.Tensor] = {}
        for row in torch.as_tensor(rows, device=self._first.device):
            at = self._first[row]
            batch = Batch(self._seen[at], self._numbers[row], self._rewards[row], self._seen[at + 1])
            values = self.learner.update(batch)
        self.outcome.steps += len(rows)
        return {f"train/{name}": float(value) for name, value in values.items()}

    def _progress(self) -> Progress:
        best = self.outcome.evaluations[self.outcome.best].mean if self.outcome.evaluations else float("nan")
        return Progress(self.outcome.steps, self.total, best)

    # ------------------------------------------------------------------ build

    def _build(self, saved: dict[str, Any] | None) -> None:
        torch.manual_seed(self.settings.seed)
        data, agent = self.decisions, self.agent.network()
        network = make_network(agent, data.observations.shape[1], data.numbers.shape[1])
        network.to(self.settings.trainer.device)
        normalisation(network).update(data.observations)
        self.learner = IQL(network, self.agent)
        device = network.device
        self._seen, self._numbers, self._rewards, self._first = (
            torch.as_tensor(values, device=device)
            for values in (data.observations, data.numbers, data.rewards, data.first)
        )
        if saved is not None:
            outcome = self.outcome
            outcome.steps, outcome.best = saved["steps"], saved["best"]
            outcome.evaluations = [Evaluation(**item) for item in saved["evaluations"]]
            self.learner.restore(saved["learner"])
        describe_policy(self.folder, self.folder.name, agent, self.world, {}, data.numbers.shape[1])

    # ------------------------------------------------------------------ judge, save, go on

    def policy(self) -> TrainedPolicy:
        """The network as it is now, as a policy."""
        agent = self.agent.network()
        actions = build_actions(agent.actions, self.world)
        return TrainedPolicy(self.folder.name, self.learner.network, actions, agent.repeat(self.world.config.dt_ctrl_s))

    def _evaluate(self, trackers: Trackers) -> None:
        if self.judge is None:
            return
        self.learner.network.set_training_mode(False)
        outcome = self.outcome
        result = Evaluation(outcome.steps, self.judge.profit(self.policy()).tolist())
        outcome.evaluations.append(result)
        outcome.best = int(np.argmax([item.mean for item in outcome.evaluations]))
        if outcome.best == len(outcome.evaluations) - 1:
            save_weights(self.folder / BEST, self.learner.network.state_dict())
        trackers.log({"validation/profit_usd_per_week": result.mean}, outcome.steps)

    def _save(self) -> None:
        save_weights(self.folder / LAST, self.learner.network.state_dict())
        save_checkpoint(
            self.folder,
            {
                "steps": self.outcome.steps,
                "evaluations": [asdict(item) for item in self.outcome.evaluations],
                "best": self.outcome.best,
                "learner": self.learner.state(),
            },
        )
