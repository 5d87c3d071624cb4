"""A network of the structure of a miner's thermal circuit.

Nodes: chips ``c``, boards with their heat sinks ``s`` and power supply ``p``; air enters at the intake ``i``.

    C_c dT_c/dt = dyn + leak exp(beta (T_c - 65)) - g (T_c - T_s)
    C_s dT_s/dt = g (T_c - T_s) - U (T_s - T_i)
    C_p dT_p/dt = loss (dyn + leak ...) + standby - V (T_p - T_i)

Each physical number is learned as its logarithm, so that capacities and conductances are positive and heat is
conserved whatever was learned. ``U`` follows the flow of air (fan speed and density at the intake) by a power law times
a network of one input; ``dyn`` and ``leak`` are power laws in the preset. Over an interval inputs hold and leakage
is linear in the chips' temperature: the step is then exact, by a matrix exponential. The interval of the step of
workload has two parts, the first with the inputs of the interval before. Before it an observer with learned gains leads
the nodes along the readings; after it nothing is read.

Weights are one vector, or K of them at once, which gives a fit its derivatives in one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch

from agents.pinn.miner_response_record import PART, TEMPS
from agents.pinn.steady import Floats

SIZES: Final = {
    "chip_j_per_k": 0.1,
    "sink_j_per_k": 2.0,
    "psu_j_per_k": 1.0,
    "chip_sink_w_per_k": 0.05,
    "sink_air_w_per_k": 0.05,
    "stream_w_per_k": 0.1,
    "psu_air_w_per_k": 0.005,
    "dyn_w": 0.8,
    "leak_w": 0.1,
    "standby_w": 0.01,
    "started_w": 0.03,
    "off_w": 0.005,
    "fan_w": 0.03,
}
"""First values per watt of stock power, alike for all models (assumed; a fit moves them freely)."""
SHAPES: Final = {
    "dyn_exponent": 1.0,
    "leak_exponent": 0.5,
    "beta_per_k": 0.03,
    "air_exponent": 0.7,
    "still_duty": 0.02,
    "board_rise_share": 0.5,
    "psu_loss_share": 0.05,
    "psu_exponent": 0.5,
    "psu_still": 0.2,
}
"""First values of numbers without a size: exponents, growth of leakage (1/K), the duty that natural draught is worth,
the share of the air's rise that a board's outlet side stands over its sink, loss per DC load, how the supply's own air
follows its load and what of it is left without."""
GAINS: Final = 3
GAIN_START: Final = 0.3
TEMP_REF_C: Final = 65.0
TEMP_LEAK_MAX_C: Final = 130.0
"""Leakage grows no further in a prediction that runs away."""
DENSITY_TEMP_K: Final = 293.15
OBSERVED: Final = tuple(TEMPS.index(name) for name in ("chip", "board", "psu"))
"""Readings that correct chips, sinks and supply."""
CHIP, SINK, PSU = range(3)


class Drives(NamedTuple):
    """What inputs make of the circuit, each (K, N, T): powers in W, conductances in W/K, air in degC.

    ``fixed_w`` is what a miner draws beside its boards and the supply's loss, ``standby_w`` the loss without load.
    """

    dyn_w: torch.Tensor
    leak_w: torch.Tensor
    standby_w: torch.Tensor
    fixed_w: torch.Tensor
    sink_air: torch.Tensor
    psu_air: torch.Tensor
    stream: torch.Tensor
    intake_c: torch.Tensor

    def at(self, k: int) -> Drives:
        """Those of an interval, (K, N)."""
        return Drives(*(part[..., k] for part in self))


@dataclass(frozen=True)
class Circuit:
    """The circuit of a model; weights are given to each call, (K, P).

    Attributes:
        rated_w: stock power, W.
        sample_s: length of an interval, s.
        hidden: units of the correction of the air side.
    """

    rated_w: float
    sample_s: float
    hidden: int

    @property
    def names(self) -> tuple[str, ...]:
        """Physical numbers, in the order of the weights."""
        return (*SIZES, *SHAPES)

    def first(self, rng: np.random.Generator) -> Floats:
        """Weights to begin with, (P,): logarithms of physical numbers, gains, the correction (of no effect yet)."""
        values = np.array([*(size * self.rated_w for size in SIZES.values()), *SHAPES.values()])
        gains = np.full(GAINS, np.log(GAIN_START / (1.0 - GAIN_START)))
        correction = np.concatenate([rng.normal(0.0, 1.0, 2 * self.hidden), np.zeros(self.hidden)])
        weights: Floats = np.concatenate([np.log(values), gains, correction])
        return weights

    def values(self, weights: Floats) -> dict[str, float]:
        """Physical numbers by name, in the units of their names."""
        return {name: float(np.exp(w)) for name, w in zip(self.names, weights, strict=False)}

    def bind(self, weights: torch.Tensor) -> BoundCircuit:
        """The circuit with weights (K, P)."""
        physical = len(self.names)
        values = {name: torch.exp(weights[:, i, None]) for i, name in enumerate(self.names)}
        gains = torch.sigmoid(weights[:, None, physical : physical + GAINS])
        slope, shift, out = torch.split(weights[:, None, None, physical + GAINS :], self.hidden, dim=-1)
        return BoundCircuit(self, values, gains, (slope, shift, out))

    def predict(self, weights: torch.Tensor, inputs: torch.Tensor, readings: torch.Tensor) -> torch.Tensor:
        """Predict what sensors show after a step of workload.

        Args:
            weights: (K, P).
            inputs: of all T intervals, (N, T, 7).
            readings: up to the step, (N, H + 1, 5).

        Returns:
            (K, N, T - H, 5), see ``READINGS``.
        """
        bound = self.bind(weights)
        drives = bound.drives(inputs)
        nodes = bound.observed(drives, readings)
        seen = []
        for k in range(readings.shape[1] - 1, inputs.shape[1]):
            now, part = drives.at(k), inputs[:, k, PART]
            begun, begun_w = nodes, torch.zeros_like(part)
            if bool(part.any()):
                was = drives.at(k - 1)
                begun = bound.advance(nodes, was, part)
                begun_w = part * bound.wall_w(nodes, begun, was)
            nodes = bound.advance(begun, now, 1.0 - part)
            wall_w = begun_w + (1.0 - part) * bound.wall_w(begun, nodes, now)
            seen.append(torch.cat([bound.shown(nodes, now), wall_w[..., None]], dim=-1))
        return torch.stack(seen, dim=-2)


@dataclass(frozen=True)
class BoundCircuit:
    """A circuit with its weights.

    Attributes:
        circuit: whose.
        values: physical numbers by name, (K, 1).
        gains: of the observer, (K, 1, 3).
        correction: slopes, shifts and outputs of the hidden units, (K, 1, 1, hidden) each.
    """

    circuit: Circuit
    values: dict[str, torch.Tensor]
    gains: torch.Tensor
    correction: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    def drives(self, inputs: torch.Tensor) -> Drives:
        """Heat and conductances of all intervals, (K, N, T), from inputs (N, T, 7)."""
        v = {name: value[..., None] for name, value in self.values.items()}
        rated_w = self.circuit.rated_w
        preset_w, share, rail, run, duty, intake_c = (inputs[..., i] for i in range(PART))
        level = torch.log(preset_w / rated_w)
        flow = (duty + v["still_duty"]) * (DENSITY_TEMP_K / (intake_c + 273.15))
        log_flow = torch.log(flow)
        slope, shift, out = self.correction
        correction = (out * torch.tanh(slope * log_flow[..., None] + shift)).sum(-1)
        load = share * preset_w / rated_w
        return Drives(
            dyn_w=share * v["dyn_w"] * torch.exp(v["dyn_exponent"] * level),
            leak_w=rail * v["leak_w"] * torch.exp(v["leak_exponent"] * level),
            standby_w=rail * v["standby_w"],
            fixed_w=v["off_w"] + run * v["started_w"] + v["fan_w"] * duty**3,
            sink_air=v["sink_air_w_per_k"] * torch.exp(v["air_exponent"] * log_flow + correction),
            psu_air=v["psu_air_w_per_k"] * (v["psu_still"] + rail * (load + 1e-3) ** v["psu_exponent"]),
            stream=v["stream_w_per_k"] * flow,
            intake_c=intake_c.expand(flow.shape),
        )

    def capacities(self) -> torch.Tensor:
        """Heat capacities of the nodes, (K, 1, 3), J/K."""
        return torch.stack([self.values[name] for name in ("chip_j_per_k", "sink_j_per_k", "psu_j_per_k")], dim=-1)

    def leakage_w(self, temp_chip_c: torch.Tensor, now: Drives) -> torch.Tensor:
        """Leakage at a chip temperature, (K, N)."""
        rise = torch.clamp(temp_chip_c, max=TEMP_LEAK_MAX_C) - TEMP_REF_C
        return now.leak_w * torch.exp(self.values["beta_per_k"] * rise)

    def balance(self, nodes_c: torch.Tensor, now: Drives) -> tuple[torch.Tensor, torch.Tensor]:
        """Heat into the nodes in an interval, linear in them: ``flow = matrix @ T + source``, W.

        Args:
            nodes_c: where leakage is made linear, (K, N, 3), degC.
            now: of the interval.

        Returns:
            Matrix (K, N, 3, 3), W/K, and source (K, N, 3), W.
        """
        chip_c = nodes_c[..., CHIP]
        leak_w = self.leakage_w(chip_c, now)
        slope = self.values["beta_per_k"] * leak_w * (chip_c < TEMP_LEAK_MAX_C)
        heat_w = now.dyn_w + leak_w - slope * chip_c
        none = torch.zeros_like(slope)
        g, loss = self.values["chip_sink_w_per_k"] + none, self.values["psu_loss_share"]
        entries = (slope - g, g, none, g, -g - now.sink_air, none, loss * slope, none, -now.psu_air)
        source = (heat_w, now.sink_air * now.intake_c, loss * heat_w + now.standby_w + now.psu_air * now.intake_c)
        return torch.unflatten(torch.stack(entries, dim=-1), -1, (3, 3)), torch.stack(source, dim=-1)

    def advance(self, nodes_c: torch.Tensor, now: Drives, part: torch.Tensor) -> torch.Tensor:
        """Nodes after a part (N,) of an interval, (K, N, 3), degC; exact but for the curvature of leakage."""
        matrix, source = self.balance(nodes_c, now)
        rows = torch.cat([matrix, source[..., None]], dim=-1)
        rows = rows * (self.circuit.sample_s * part[:, None] / self.capacities())[..., None]
        over = torch.linalg.matrix_exp(torch.nn.functional.pad(rows, (0, 0, 0, 1)))[..., :3, :]
        after: torch.Tensor = (over[..., :3] @ nodes_c[..., None])[..., 0] + over[..., 3]
        return after

    def shown(self, nodes_c: torch.Tensor, now: Drives) -> torch.Tensor:
        """What sensors show at nodes, (K, N, 4), see ``TEMPS``, degC."""
        rise = now.sink_air * (nodes_c[..., SINK] - now.intake_c) / now.stream
        board_c = nodes_c[..., SINK] + self.values["board_rise_share"] * rise
        return torch.stack([nodes_c[..., CHIP], board_c, now.intake_c + rise, nodes_c[..., PSU]], dim=-1)

    def wall_w(self, before_c: torch.Tensor, after_c: torch.Tensor, now: Drives) -> torch.Tensor:
        """Mean wall power of an interval, (K, N), W."""
        leak_w = 0.5 * (self.leakage_w(before_c[..., CHIP], now) + self.leakage_w(after_c[..., CHIP], now))
        return (1.0 + self.values["psu_loss_share"]) * (now.dyn_w + leak_w) + now.standby_w + now.fixed_w

    def observed(self, drives: Drives, readings: torch.Tensor) -> torch.Tensor:
        """Nodes at the last reading, (K, N, 3), degC: the circuit led along the readings, (N, H + 1, 5)."""
        rise = readings[:, 0, TEMPS.index("outlet")] - drives.intake_c[..., 0]
        below = self.values["board_rise_share"] * rise
        nodes = readings[:, 0, OBSERVED] - torch.stack([0.0 * below, below, 0.0 * below], dim=-1)
        for k in range(readings.shape[1] - 1):
            now = drives.at(k)
            nodes = self.advance(nodes, now, torch.ones_like(readings[:, 0, 0]))
            missed = readings[:, k + 1, OBSERVED] - self.shown(nodes, now)[..., OBSERVED]
            nodes = nodes + self.gains * missed
        return nodes
