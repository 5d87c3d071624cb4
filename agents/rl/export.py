"""A trained policy as ONNX: network, normalisation and action map in one file that runs without torch.

What is exported is :class:`agents.rl.policy.TrainedPolicy`: numbers of the network, held for a control period, turned
into an action with every observation. On 10,000 observations the file has to give what torch gives.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.baselines.base import action_for_level
from agents.baselines.myopic import best_levels
from agents.baselines.table import plain_params
from agents.onnx_export import export_bytes, quiet_exporter, without_traces
from agents.rl.actions import ActionMap, Direct, RuleResidual, ShadowPrice
from agents.rl.policy import TrainedPolicy, load_policy
from agents.rl.warm_start import gather
from minesim.arrays import torch_namespace
from minesim.control.channels import symexp
from minesim.control.manifest import NetworkPolicy, RulePolicy
from minesim.control.observe import schema
from minesim.control.onnx_policy import INPUTS, OUTPUTS, OnnxPolicy
from minesim.envs.core import World
from minesim.errors import MissingExtraError, ParamsError, explain
from minesim.promote.source import POLICY_FILE, Exported

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between file and torch, in units of the action. At observations near their bounds sums of hundreds
are rounded in single precision, and processors and libraries order them differently: up to 4e-5 was seen."""
OBSERVATIONS = 10_000
SITES = 50
EXAMPLE_ROWS = 3
QUANTISED = ["MatMul", "Gemm"]


class Deployed(torch.nn.Module):
    """What the file computes; see :mod:`minesim.control.onnx_policy`."""

    def __init__(self, network: Any, actions: ActionMap) -> None:
        super().__init__()
        self.features = network.pi_features_extractor
        self.layers = network.mlp_extractor.policy_net
        self.head = network.action_net
        self.actions = exportable(actions)

    def forward(
        self, observation: torch.Tensor, held: torch.Tensor, due: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Action (B, n_act) and numbers (B, k)."""
        fresh = torch.clamp(self.head(self.layers(self.features(observation))), -1.0, 1.0)
        numbers = torch.where(due > 0.0, fresh, held)
        return self.actions(observation, numbers), numbers


class AsNumbers(torch.nn.Module):
    """The numbers are the action, or are added to a rule outside the file."""

    def forward(self, observation: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """The numbers."""
        return torch.clamp(numbers, -1.0, 1.0)


class AsPrice(torch.nn.Module):
    """:meth:`agents.rl.actions.ShadowPrice.action` in operations that every exporter knows."""

    def __init__(self, actions: ShadowPrice) -> None:
        super().__init__()
        self.map = actions
        self.xp = replace(torch_namespace(), take_along=lambda x, index, axis: torch.gather(x, axis, index))
        example = torch.zeros(EXAMPLE_ROWS, actions.knowledge.schema.size)
        self.fleet = actions.knowledge.fleet.to(example)
        # Constants of the fleet are computed on first use, and must not be first used while a graph is traced.
        self(example, torch.zeros(EXAMPLE_ROWS, actions.size))

    def forward(self, observation: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Best preset of every cohort at energy price plus adder; a reserve offer is taken as it is."""
        read, prices, xp = self.map.knowledge.schema.read, self.map.prices, self.xp
        price = read(observation, "price_last_usd_per_mwh") + symexp(numbers[..., :prices] * self.map.log_max, xp=xp)
        level = best_levels(price, read(observation, "hash_revenue_usd_per_ths_day"), self.fleet, xp=xp)
        action = action_for_level(level, read(observation, "level"), self.fleet.level_min, xp=xp)
        return torch.cat([action, numbers[..., prices:]], -1) if self.map.size > prices else action


def exportable(actions: ActionMap) -> torch.nn.Module:
    """An action map as a module.

    Raises:
        ParamsError: a kind of map that has no exported form.
    """
    if isinstance(actions, ShadowPrice):
        return AsPrice(actions)
    if isinstance(actions, (Direct, RuleResidual)):
        return AsNumbers()
    raise ParamsError(
        explain(
            f"actions of kind {type(actions).__name__} cannot be exported", allowed="direct, residual, shadow_price"
        )
    )


def export_policy(folder: Path, world: World, *, int8: bool = False) -> Exported:
    """Export the best policy of a training run, and check the file against it.

    Args:
        folder: of the run.
        world: what it was trained for.
        int8: store the weights in 8 bits; how much that changes is among the figures.

    Returns:
        The file with what a manifest says of it. Figures, in units of the action: ``onnx_max`` against torch on 10,000
        observations; with ``int8`` also ``int8_max`` and ``int8_mean`` against the float file.

    Raises:
        ParamsError: a recurrent policy, or a file that does not give what torch gives.
        DataFileError: no such run, or its files are damaged.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    trained = load_policy(folder, world)
    if hasattr(trained.network, "lstm_actor"):
        raise ParamsError(
            explain(
                f"{folder.name!r} is a recurrent policy",
                allowed="policies without memory, direct, residual or shadow_price",
                fix="Its memory would be lost when a bridge restarts; train one with agent.lstm_size=0.",
            )
        )
    content, exact = _export(trained), b""
    policy = NetworkPolicy(POLICY_FILE, trained.actions.size, trained.repeat)
    if isinstance(trained.actions, RuleResidual):
        rule = trained.actions.rule
        base = RulePolicy(rule.name, plain_params(getattr(rule, "params", None)))
        policy = replace(policy, base=base, base_scale=float(trained.actions.scale))
    observations = _observations(trained, world)
    figures = {"onnx_max": _difference(_run(content, policy, trained, world), trained, observations)}
    if not figures["onnx_max"] <= TOLERANCE:
        raise ParamsError(
            explain(
                f"the exported file differs from torch by {figures['onnx_max']:.3g}",
                allowed=f"up to {TOLERANCE:g} on {OBSERVATIONS} observations",
                origin=folder.name,
            )
        )
    if int8:
        exact, content = content, _quantised(content)
        policy = replace(policy, precision="int8")
        short = _run(content, policy, trained, world).act(observations)
        trained.reset()
        gap = np.abs(short - _run(exact, policy, trained, world).act(observations))
        trained.reset()
        figures |= {"int8_max": float(gap.max()), "int8_mean": float(gap.mean())}
    return Exported(policy, content, exact, figures)


def _run(content: bytes, policy: NetworkPolicy, trained: TrainedPolicy, world: World) -> OnnxPolicy:
    """The file as a bridge runs it."""
    actions = trained.actions
    return OnnxPolicy(
        trained.name,
        content,
        n_obs=trained.n_obs,
        n_act=world.action_size,
        numbers=policy.numbers,
        hold_steps=policy.hold_steps,
        base=actions.rule if isinstance(actions, RuleResidual) else None,
        base_scale=policy.base_scale,
    )


def _observations(trained: TrainedPolicy, world: World) -> np.ndarray:
    """Half of them what the policy meets in training weeks, half anywhere between their bounds, (10,000, n)."""
    seen = replace(world, config=replace(world.config, split="train"))
    met = gather(trained, seen, SITES, OBSERVATIONS // 2 // SITES, seed=0).observations
    low, high = schema(world.cohorts).bounds()
    drawn = np.random.default_rng(0).uniform(low, high, (OBSERVATIONS - len(met), len(low)))
    trained.reset()
    return np.concatenate([met, drawn.astype(np.float32)])


def _difference(policy: OnnxPolicy, trained: TrainedPolicy, observations: np.ndarray) -> float:
    """Largest difference of two decisions: one that is made, and one while it is held.

    Where two presets earn the same, a last bit decides between them. There the action of torch at the numbers of the
    file counts too, and the numbers have to be equal.
    """
    worst = 0.0
    trained.reset()
    policy.reset()
    for seen in (observations, observations[::-1].copy()):
        wanted = trained.act(seen)
        trained.actions.reset()
        found = policy.act(seen)
        trained.actions.reset()
        gap = np.abs(found - wanted).max(axis=1)
        also = np.abs(found - trained.actions.action(seen, policy.held)).max(axis=1)
        trained.actions.reset()
        apart = np.abs(policy.held - trained._held).max()
        worst = max(worst, float(apart), float(np.minimum(gap, also).max()))
    trained.reset()
    return worst


def _export(trained: TrainedPolicy) -> bytes:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 - the exporter needs it
    except ImportError as error:
        raise MissingExtraError(
            explain(f"exporting needs onnx and onnxscript ({error})", fix="Run: pip install 'minesim[agents]'")
        ) from error
    module = Deployed(trained.network, trained.actions).eval()
    sizes = (trained.n_obs, trained.actions.size, 1)
    example = tuple(torch.zeros(EXAMPLE_ROWS, size) for size in sizes)
    return export_bytes(module, example, INPUTS, OUTPUTS, OPSET)


def _quantised(content: bytes) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quiet_exporter():
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(content)
        quantize_dynamic(before, after, op_types_to_quantize=QUANTISED, weight_type=QuantType.QInt8, per_channel=True)
        return without_traces(onnx.load_from_string(after.read_bytes()))
