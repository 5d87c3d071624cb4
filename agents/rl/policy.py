"""A trained network as a :class:`minesim.control.policy.Policy`, for ``minesim.bench.rollout`` and a bridge."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.rl.actions import ActionMap, RuleNumbers, build_actions
from agents.rl.settings import ActionSettings, AgentSettings, Constraint, Stage, WarmStart
from minesim.bench.files import write_json
from minesim.control.observe import schema
from minesim.envs.core import World
from minesim.errors import ActionError, DataFileError, MissingExtraError, ParamsError, explain, nearest

DESCRIPTION = "policy.json"
BEST, LAST = "policy_best.pt", "policy_last.pt"
FORMAT = 1


class TrainedPolicy:
    """The deterministic policy of a network: its mean, held for a control period, turned into an action.

    Memory: the held numbers of each row, and that of the rule of a residual.
    """

    def __init__(self, name: str, network: Any, actions: ActionMap, repeat: int) -> None:
        self.name = name
        self.network = network
        self.actions = actions
        self.repeat = repeat
        self.n_obs = int(network.observation_space.shape[0])
        self._held: NDArray[np.float32] | None = None
        self._age = np.zeros(0, np.int64)

    def act(self, observation: NDArray[np.floating]) -> NDArray[np.floating]:
        """Actions (..., n_act) in [-1, 1] for observations (..., n_obs).

        Raises:
            ActionError: the observation has another size than the network was trained with.
        """
        if observation.shape[-1] != self.n_obs:
            raise ActionError(
                explain(
                    f"policy {self.name!r} got an observation of {observation.shape[-1]} numbers",
                    allowed=f"{self.n_obs} (what it was trained with)",
                    fix="Use the site and scenario that it was trained for, or train one for these.",
                )
            )
        rows = observation.reshape(-1, self.n_obs)
        action = self.actions.action(rows, self._numbers(rows))
        return action.reshape(*observation.shape[:-1], action.shape[-1])

    def reset(self, done: NDArray[np.bool_] | None = None) -> None:
        """Decide anew in the rows where ``done`` is true (all when None)."""
        self.actions.reset(done)
        if done is None or self._held is None:
            self._held = None
        else:
            self._age = np.where(np.asarray(done, bool).reshape(-1), 0, self._age)

    def _numbers(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        if self._held is None or len(self._held) != len(rows):
            self._held, self._age = np.zeros((len(rows), self.actions.size), np.float32), np.zeros(len(rows), np.int64)
        due = self._age == 0
        if due.any():
            self._held = np.where(due[:, None], self._mean(rows), self._held)
        self._age = (self._age + 1) % self.repeat
        return self._held

    def _mean(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        import torch

        with torch.no_grad():
            tensor = torch.as_tensor(rows, dtype=torch.float32, device=self.network.device)
            mean = self.network.get_distribution(tensor).mode()
        return np.clip(mean.cpu().numpy(), -1.0, 1.0)


def describe_policy(
    folder: Path, name: str, agent: AgentSettings, world: World, numbers: RuleNumbers, n_raw: int
) -> None:
    """Write what is needed to use the weights of a run: shapes, channels, settings of network and actions."""
    content = {
        "format": FORMAT,
        "name": name,
        "scenario": world.scenario.name,
        "dt_ctrl_s": world.config.dt_ctrl_s,
        "channels": [[channel.name, channel.size] for channel in schema(world.cohorts).channels],
        "n_obs": schema(world.cohorts).size,
        "n_act": world.action_size,
        "n_raw": n_raw,
        "agent": asdict(agent),
        "rule_params": dict(numbers),
    }
    write_json(folder / DESCRIPTION, content)


def load_policy(folder: str | Path, world: World, *, weights: str = "best") -> TrainedPolicy:
    """Load the policy of a training run for a world.

    Args:
        folder: of the run.
        world: where it shall act; observation channels and action size must be those of training.
        weights: ``best`` (on the validation weeks) or ``last``.

    Raises:
        DataFileError: no such run, or its files are damaged.
        ParamsError: other observation channels, action size or control step.
        MissingExtraError: stable-baselines3 is not installed.
    """
    try:
        import torch

        from agents.rl.network import make_network
    except ImportError as error:
        raise MissingExtraError(
            explain("a trained policy needs stable-baselines3", fix="Run: pip install 'minesim[agents]'")
        ) from error
    folder = Path(folder)
    about = _description(folder)
    agent = agent_settings(about["agent"])
    _check_fits(about, world, folder)
    if weights not in ("best", "last"):
        raise ParamsError(explain(f"weights is {weights!r}", allowed="best or last"))
    path = folder / (BEST if weights == "best" else LAST)
    if not path.exists():
        raise DataFileError(explain(f"there is no file {str(path)!r}", fix="Train the run on, or take other weights."))
    network = make_network(agent, int(about["n_obs"]), int(about["n_raw"]))
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise DataFileError(explain(f"{path.name} has no weights of this network ({_first_line(error)})")) from error
    network.set_training_mode(False)
    actions = build_actions(agent.actions, world, about["rule_params"])
    return TrainedPolicy(str(about["name"]), network, actions, agent.repeat(world.config.dt_ctrl_s))


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.exists():
        siblings = [entry.parent.name for entry in folder.parent.glob(f"*/{DESCRIPTION}")] if folder.parent else []
        fix = nearest(folder.name, siblings) if siblings else "Train one: python -m experiments.train"
        raise DataFileError(explain(f"there is no training run in {str(folder)!r}", fix=fix))
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        raise DataFileError(explain(f"{str(path)!r} is not readable ({_first_line(error)})")) from error
    if content.get("format") != FORMAT:
        raise DataFileError(explain(f"{str(path)!r} has format {content.get('format')!r}", allowed=str(FORMAT)))
    return content


def _check_fits(about: dict[str, Any], world: World, folder: Path) -> None:
    origin = f"run {folder.name!r}, trained on {about['scenario']!r}"
    channels = [[channel.name, channel.size] for channel in schema(world.cohorts).channels]
    if about["channels"] != channels:
        changed = [name for name, size in about["channels"] if [name, size] not in channels]
        raise ParamsError(
            explain(
                f"the policy observes {about['n_obs']} numbers, the world gives {schema(world.cohorts).size}"
                + (f" (first difference: {changed[0]})" if changed else ""),
                allowed="the same channels in the same order",
                origin=origin,
                fix="Take the site that it was trained for.",
            )
        )
    if about["n_act"] != world.action_size:
        raise ParamsError(
            explain(
                f"the policy gives {about['n_act']} actions, the world takes {world.action_size}",
                origin=origin,
                fix="A tariff with a reserve has one action more; take a tariff like that of training.",
            )
        )
    if about["dt_ctrl_s"] != world.config.dt_ctrl_s:
        raise ParamsError(
            explain(f"dt_ctrl_s is {world.config.dt_ctrl_s:g} s", allowed=f"{about['dt_ctrl_s']:g} s", origin=origin)
        )


def agent_settings(content: dict[str, Any]) -> AgentSettings:
    """Agent settings from plain values, e.g. of a file."""
    nested = {
        "actions": ActionSettings(**content["actions"]),
        "warm_start": WarmStart(**content["warm_start"]),
        "constraint": Constraint(**content["constraint"]),
        "curriculum": [Stage(**stage) for stage in content["curriculum"]],
    }
    return AgentSettings(**{**content, **nested})


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
