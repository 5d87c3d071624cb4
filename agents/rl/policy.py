"""A trained network as a :class:`minesim.control.policy.Policy`, for ``minesim.bench.rollout`` and a bridge."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agents.rl.actions import ActionMap, RuleNumbers, build_actions
from agents.rl.settings import ActionSettings, AgentSettings, Constraint, Stage, WarmStart
from minesim.arrays import Array, namespace_of
from minesim.bench.files import write_json
from minesim.control.observe import schema
from minesim.envs.core import World
from minesim.errors import ActionError, DataFileError, MissingExtraError, ParamsError, explain, nearest

DESCRIPTION = "policy.json"
BEST, LAST = "policy_best.pt", "policy_last.pt"
FORMAT = 1
Flags = NDArray[np.bool_]


class TrainedPolicy:
    """The deterministic policy of a network: its mean, held for a control period, turned into an action.

    Takes numpy arrays and torch tensors. Memory, one for each row: the held numbers, those of a recurrent network, and
    that of the rule of a residual.
    """

    def __init__(self, name: str, network: Any, actions: ActionMap, repeat: int) -> None:
        self.name = name
        self.network = network
        self.actions = actions
        self.repeat = repeat
        self.n_obs = int(network.observation_space.shape[0])
        self._mean: Mean = RecurrentMean(network) if hasattr(network, "lstm_actor") else NetworkMean(network)
        self._held: Array = None
        self._age = np.zeros(0, np.int64)

    def act(self, observation: Array) -> Array:
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

    def reset(self, done: Array | None = None) -> None:
        """Decide anew in the rows where ``done`` is true (all when None)."""
        self.actions.reset(done)
        if done is None or self._held is None:
            self._held = None
            self._mean.reset(None)
        else:
            ended = to_host(done).astype(bool).reshape(-1)
            self._age = np.where(ended, 0, self._age)
            self._mean.reset(ended)

    def _numbers(self, rows: Array) -> Array:
        if self._held is None or len(self._held) != len(rows):
            self._held, self._age = None, np.zeros(len(rows), np.int64)
            self._mean.reset(None)
        due = self._age == 0
        if due.any():
            xp, fresh = namespace_of(rows), self._mean(rows, due)
            chosen = xp.asarray(due[:, None], like=rows) > 0.0
            self._held = fresh if self._held is None else xp.where(chosen, fresh, self._held)
        self._age = (self._age + 1) % self.repeat
        return self._held


class Mean(Protocol):
    """The mean of a network's distribution, within [-1, 1]."""

    def __call__(self, rows: Array, due: Flags) -> Array:
        """Numbers (B, size) for observations (B, n_obs); rows that are not due get anything."""
        ...

    def reset(self, done: Flags | None) -> None:
        """Forget memory of the rows where ``done`` is true (all when None)."""
        ...


class NetworkMean:
    """Of a network without memory."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def __call__(self, rows: Array, due: Flags) -> Array:
        """Numbers of all rows."""
        import torch

        with torch.no_grad():
            mean = self.network.get_distribution(to_network(rows, self.network)).mode()
        return like_rows(mean.clamp(-1.0, 1.0), rows)

    def reset(self, done: Flags | None) -> None:
        """Nothing to forget."""


class RecurrentMean:
    """Of a recurrent network, whose memory goes on with each decision of a row; (layers, B, hidden) each."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self._memory: Any = None

    def __call__(self, rows: Array, due: Flags) -> Array:
        """Numbers of all rows; memory changes in those that are due."""
        import torch

        network = self.network
        if self._memory is None:
            layers, _, hidden = network.lstm_hidden_state_shape
            zeros = torch.zeros(layers, len(rows), hidden, device=network.device)
            self._memory = (zeros, zeros)
        with torch.no_grad():
            starts = torch.zeros(len(rows), device=network.device)
            distribution, after = network.get_distribution(to_network(rows, network), self._memory, starts)
            chosen = torch.as_tensor(due, device=network.device)[:, None]
            self._memory = tuple(torch.where(chosen, new, old) for new, old in zip(after, self._memory, strict=True))
            return like_rows(distribution.mode().clamp(-1.0, 1.0), rows)

    def reset(self, done: Flags | None) -> None:
        """Zeros, as at the start of an episode in training."""
        import torch

        if done is None or self._memory is None:
            self._memory = None
        else:
            kept = torch.as_tensor(1.0 - done, dtype=torch.float32, device=self.network.device)[:, None]
            self._memory = tuple(kept * part for part in self._memory)


def to_network(rows: Array, network: Any) -> Any:
    """Observations as the network takes them."""
    import torch

    return torch.as_tensor(rows, dtype=torch.float32, device=network.device)


def like_rows(values: Any, rows: Array) -> Array:
    """Numbers of a network in the kind of the observations that they belong to."""
    return values.cpu().numpy() if isinstance(rows, np.ndarray) else values.to(rows.device)


def to_host(values: Array) -> NDArray[Any]:
    """Anything as a numpy array."""
    return np.asarray(values.cpu()) if hasattr(values, "cpu") else np.asarray(values)


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
