"""Telemetry of hidden miners' steps of workload, made by the twin.

Readings come every minute, out of step with commands, while the firmware acts in sub-steps.
"""

from __future__ import annotations

import numpy as np

from agents.pinn.miner_response_hidden import REGIMES, HiddenMiner, catalog_spec, first_state, hidden_site, next_psu_c
from agents.pinn.miner_response_instruments import reported, shown
from agents.pinn.miner_response_plan import WARM_MIN, Plan, command, draw_plan, weather
from agents.pinn.miner_response_record import StepRecords
from agents.pinn.miner_response_settings import TICK_S, MinerResponseSettings
from agents.pinn.steady import Floats
from minesim.site import PreparedSite, transition
from minesim.site_spec import build_site


def record_steps(
    model: str, hidden: HiddenMiner, split: str, count: int, settings: MinerResponseSettings, rng: np.random.Generator
) -> StepRecords:
    """Run the twin through steps of workload and read its instruments; about a second of one core.

    Args:
        model: catalog name.
        hidden: the miner.
        split: see :func:`draw_plan`.
        count: steps.
        settings: lengths and sampling.
        rng: of all draws.
    """
    spec = catalog_spec(model)
    plan = draw_plan(split, count, settings.sample_s // TICK_S, rng)
    parts, order = [], []
    for number, regime in enumerate(REGIMES):
        mine = np.flatnonzero(plan.regime == number)
        if len(mine):
            part = Plan(*(field[mine] for field in plan))
            parts.append(_record(hidden_site(spec, hidden, regime, len(mine)), hidden, part, settings, rng))
            order.append(mine)
    back = np.argsort(np.concatenate(order))
    kinds, inputs, readings, truth = (np.concatenate(arrays)[back] for arrays in zip(*parts, strict=True))
    rated_w = float(build_site(spec).curves.power_rated_w[0])
    return StepRecords(kinds, inputs, readings, truth, settings.before, settings.sample_s, rated_w)


def _record(
    site: PreparedSite, hidden: HiddenMiner, plan: Plan, settings: MinerResponseSettings, rng: np.random.Generator
) -> tuple[np.ndarray, Floats, Floats, Floats]:
    """Kinds, inputs, readings and truth of miners whose fans run alike, as in :class:`StepRecords`."""
    every = settings.sample_s // TICK_S
    warm = WARM_MIN * 60 // TICK_S
    first = warm + settings.before * every
    ticks = first + settings.after * every
    air = weather(plan, ticks, hidden.pressure_pa, rng)
    state = first_state(site, hidden, plan.level_before, air[0].temp_amb_c)
    psu_c = plan.amb_c.copy()
    rows = []
    for tick, exog in enumerate(air):
        state, outcome = transition(state, command(plan, tick, first), exog, site)
        psu_c = next_psu_c(psu_c, state, outcome, site, hidden)
        if tick >= warm - every:
            rows.append(shown(state, outcome, psu_c, site))
    return plan.kinds, *reported(rows, every, settings.before, hidden.power_bias, site, rng)
