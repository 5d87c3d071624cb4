"""What a circuit is compared with: persistence, a first-order fit, a plain network, the catalog's twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from agents.pinn.miner_response_hidden import catalog_spec
from agents.pinn.miner_response_record import INPUTS, PART, TEMPS, StepRecords
from agents.pinn.steady import Floats
from minesim.arrays import NUMPY
from minesim.physics import asic, heatsink
from minesim.site import HA_EXPONENT
from minesim.site_spec import build_site

STILL_DUTY: Final = 0.02
TWIN_STEP_S: Final = 10.0
FIRST_ORDER_START: Final = (10.0, 15.0, 0.7, 3.0, 0.5)
"""Kelvins while hashing without and with load, how they fall with air, minutes of the time constant and likewise."""
INPUT_CENTRES: Final = np.array([1.0, 0.5, 0.5, 0.5, 0.5, 20.0, 0.0])
INPUT_SPREADS: Final = np.array([0.5, 0.5, 0.5, 0.5, 0.3, 15.0, 0.5])
TEMP_CENTRE_C: Final = 40.0
TEMP_SPREAD_K: Final = 20.0
"""Fixed scales of a plain network's inputs (assumed)."""


def persistence(records: StepRecords) -> Floats:
    """Temperatures stay as they were before the step, (N, F, 4), degC."""
    stays: Floats = np.repeat(records.start_c[:, None], records.after, axis=1)
    return stays


@dataclass(frozen=True)
class FirstOrder:
    """Each temperature tends to a steady value with one time constant; both follow the air by power laws.

    Attributes:
        weights: five of each temperature, see ``FIRST_ORDER_START``, (4, 5).
    """

    weights: Floats

    def predict(self, records: StepRecords) -> Floats:
        """(N, F, 4), degC."""
        return np.stack([_first_order(w, records, channel) for channel, w in enumerate(self.weights)], axis=-1)


def fit_first_order(records: StepRecords) -> FirstOrder:
    """Fit each temperature by least squares on the readings after the step."""
    from scipy.optimize import least_squares

    found = []
    for channel in range(len(TEMPS)):
        wanted = records.readings_after[..., channel]

        def missed(w: Floats, channel: int = channel, wanted: Floats = wanted) -> Floats:
            return np.asarray((_first_order(w, records, channel) - wanted).ravel())

        low, high = [-50.0, -50.0, 0.0, 0.1, 0.0], [100.0, 200.0, 2.0, 120.0, 2.0]
        found.append(least_squares(missed, FIRST_ORDER_START, bounds=(low, high)).x)
    return FirstOrder(np.array(found))


def _first_order(weights: Floats, records: StepRecords, channel: int) -> Floats:
    still_k, load_k, fall, minutes, fall_time = weights
    inputs = records.inputs[:, records.before - 1 :]
    preset_w, share, rail, _, duty, intake_c, part = np.moveaxis(inputs, -1, 0)
    air = duty + STILL_DUTY
    aim = intake_c + (still_k * rail + load_k * share * preset_w / records.rated_w) * air**-fall
    rate = records.sample_s / 60.0 / (minutes * air**-fall_time)
    now, seen = records.start_c[:, channel], []
    for k in range(1, records.after + 1):
        now = aim[:, k - 1] + (now - aim[:, k - 1]) * np.exp(-rate[:, k - 1] * part[:, k])
        now = aim[:, k] + (now - aim[:, k]) * np.exp(-rate[:, k] * (1.0 - part[:, k]))
        seen.append(now)
    return np.stack(seen, axis=1)


@dataclass(frozen=True)
class PlainNetwork:
    """A network of one hidden layer that adds to the temperatures in each interval and knows no physics.

    Attributes:
        hidden: units.
        rated_w: stock power of the model, W.
    """

    hidden: int
    rated_w: float

    @property
    def count(self) -> int:
        """Weights."""
        return self.hidden * (len(TEMPS) + len(INPUTS) + 1) + (self.hidden + 1) * len(TEMPS)

    def first(self, rng: np.random.Generator) -> Floats:
        """Weights to begin with, (P,)."""
        weights: Floats = 0.05 * rng.standard_normal(self.count)
        return weights

    def predict(self, weights: torch.Tensor, inputs: torch.Tensor, readings: torch.Tensor) -> torch.Tensor:
        """See :class:`agents.pinn.miner_response_fit.Predictor`; temperatures only."""
        sees, before = len(TEMPS) + len(INPUTS) + 1, readings.shape[1] - 1
        inner = torch.unflatten(weights[:, : self.hidden * sees], -1, (sees, self.hidden))
        outer = torch.unflatten(weights[:, self.hidden * sees :], -1, (self.hidden + 1, len(TEMPS)))
        units = torch.tensor([self.rated_w, *[1.0] * PART], dtype=inputs.dtype)
        part = inputs[:, before:, PART:]
        inputs = part * inputs[:, before - 1 : -1] + (1.0 - part) * inputs[:, before:]
        inputs = torch.cat([inputs[..., :PART], part], dim=-1)
        scaled = (inputs / units - torch.as_tensor(INPUT_CENTRES)) / torch.as_tensor(INPUT_SPREADS)
        scaled = torch.cat([scaled, torch.ones_like(scaled[..., :1])], dim=-1)
        driven = scaled.flatten(0, 1) @ inner[:, len(TEMPS) :]
        driven = torch.unflatten(driven, 1, (len(inputs), -1))
        now = (readings[:, -3:, : len(TEMPS)].mean(1) - TEMP_CENTRE_C) / TEMP_SPREAD_K
        now = now.expand(len(weights), *now.shape)
        seen = []
        for k in range(driven.shape[2]):
            layer = torch.tanh(now @ inner[:, : len(TEMPS)] + driven[:, :, k])
            now = now + layer @ outer[:, :-1] + outer[:, -1:]
            now = torch.clamp(now, -10.0, 10.0)
            seen.append(now * TEMP_SPREAD_K + TEMP_CENTRE_C)
        return torch.stack(seen, dim=-2)


def plain_of_size(count: int, rated_w: float) -> PlainNetwork:
    """The plain network with about as many weights."""
    each = 2 * len(TEMPS) + len(INPUTS) + 1
    return PlainNetwork(max(1, round((count - len(TEMPS)) / each)), rated_w)


def catalog_twin(model: str, records: StepRecords) -> Floats:
    """The twin with the catalog's parameters along the recorded fan and intake, (N, F, 4); it has no supply (NaN)."""
    site = build_site(catalog_spec(model))
    m, xp = site.miners, NUMPY
    inputs = records.inputs[:, records.before - 1 :]
    preset_w, share, rail, _, duty, intake_c, part = np.moveaxis(inputs, -1, 0)
    powers = site.curves.preset_power_w[0]
    dyn_w = share * np.interp(preset_w, powers, m.board_dyn_w[0])
    leak_w = rail * np.interp(preset_w, powers, m.board_leak_w[0])
    boards = float(m.board_present.sum())
    network = heatsink.board_network(m.chip_j_per_k[0], m.sink_j_per_k[0], m.chip_sink_w_per_k[0], TWIN_STEP_S)
    start = dict(zip(TEMPS, records.start_c.T, strict=True))
    chip_c = start["chip"]
    sink_c = start["board"] - 0.5 * (start["outlet"] - intake_c[:, 0])
    seen = []
    air = np.maximum(duty, STILL_DUTY)
    stream = m.flow_max_w_per_k[0] / boards * air
    ntu = heatsink.ntu_at_flow(m.ntu_ref[0], np.log(air), HA_EXPONENT, xp=xp)
    ua = heatsink.ua_stream_w_per_k(-stream, -ntu, xp=xp)
    steps, rows = round(records.sample_s / TWIN_STEP_S), np.arange(len(records))
    for k in range(1, records.after + 1):
        for step in range(steps):
            at = rows, np.where(step < np.round(part[:, k] * steps), k - 1, k)
            growth = asic.leakage_growth(chip_c, m.beta_per_k[0], m.temp_ref_c[0], xp=xp)
            sources = heatsink.sink_source_w(chip_c, sink_c, dyn_w[at] + leak_w[at] * growth, network)
            chip_c, sink_c = heatsink.node_temps_c(
                *sources, ua[at] * intake_c[at], network.sink_diagonal + ua[at], network
            )
        rise = ua[:, k] * (sink_c - intake_c[:, k]) / stream[:, k]
        _, board_c = heatsink.board_sensor_temps_c(sink_c, rise)
        seen.append(np.stack([chip_c, board_c, intake_c[:, k] + rise, np.full_like(chip_c, np.nan)], axis=-1))
    return np.stack(seen, axis=1)
