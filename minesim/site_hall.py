"""A site in a hall as a twin: miners commanded through their firmware, in a spatial room with its cooling plant.

:func:`transition` joins the two twins. Of the site (:mod:`minesim.site`) come starts, presets, throttles, waits, trips
and the cost of stops; of the hall (:mod:`minesim.hall`) chips, fans, air and plant. Nothing is computed by both.

Shapes: the site's, ``B`` sites first: cohorts (B, M), cells of the room flat (B, C); one site has no axis for it. The
hall's arrays have sites last and are turned on the way in and out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from minesim.arrays import Array, Namespace
from minesim.hall import (
    EnergyBalance,
    Hall,
    HallCommand,
    HallOutcome,
    HallState,
    PresetTables,
    energy_balance_j,
    preset_tables,
    start_state,
)
from minesim.hall import transition as hall_transition
from minesim.physics import firmware
from minesim.physics.cooling import PlantCommand, Weather
from minesim.physics.firmware import FirmwareCommand, FirmwareState
from minesim.site import LOG_DUTY_OFF, Outcome, PreparedSite, SiteParams, restarts


@dataclass(frozen=True)
class HallSite:
    """A site laid out in a hall, in the arrays of a batch.

    Attributes:
        site: miners, firmware and wear; its room is not used.
        hall: room and plant.
        tables: one miner at each preset, flat, (M P,).
    """

    site: PreparedSite
    hall: Hall
    tables: PresetTables


def prepare_hall_site(site: PreparedSite, params: SiteParams, hall: Hall, like: Array) -> HallSite:
    """Join a prepared site and the hall that its cohorts stand in.

    Args:
        site: prepared for the batch.
        params: the same site in numpy.
        hall: its groups are the site's cohorts; in the arrays of the batch.
        like: an array of the wanted kind.
    """
    tables = (site.xp.asarray(table.reshape(-1), like=like) for table in preset_tables(params))
    return HallSite(site, hall, PresetTables(*tables))


@dataclass(frozen=True)
class HallSiteState:
    """The physical state.

    Attributes:
        firmware: memory of the miners' firmware, (B, M) each.
        temp_chip_c, temp_sink_c, temp_hot_c, log_duty: of a miner, see :class:`minesim.hall.HallState`, (B, M).
        structure_c: walls, racks and metal, degC, (B, C).
        share_up: share of a cohort that is not waiting for repair, (B, M).
        silicon_leak: leakage of a miner relative to its model, mean of its boards, (B, M).
        power_bias: relative error of the firmware's power estimate, (B, M).
    """

    firmware: FirmwareState
    temp_chip_c: Array
    temp_sink_c: Array
    temp_hot_c: Array
    log_duty: Array
    structure_c: Array
    share_up: Array
    silicon_leak: Array
    power_bias: Array

    def of_hall(self, tripped: Array, hall: Hall) -> HallState:
        """The part that the hall advances; ``tripped`` as the firmware has it, (B, M)."""
        return HallState(
            temp_chip_c=self.temp_chip_c.T,
            temp_sink_c=self.temp_sink_c.T,
            temp_hot_c=self.temp_hot_c.T,
            log_duty=self.log_duty.T,
            tripped=tripped.T,
            structure_c=hall_cells(self.structure_c, hall),
        )


def hall_cells(structure_c: Array, hall: Hall) -> Array:
    """Cells of the room as the hall has them, (nx, ny, B), from (B, C)."""
    cells = structure_c.T
    return cells.reshape(*hall.room.treated_share.shape, *cells.shape[1:])


def initial_state(
    twin: HallSite,
    temp_amb_c: Array,
    silicon_leak: Array,
    power_bias: Array,
    *,
    running: float = 1.0,
    preset: Array,
) -> HallSiteState:
    """A site that has been running (or standing) for a while; the first minutes settle the temperatures.

    Args:
        twin: the site in its hall.
        temp_amb_c: outdoor temperature, (B,).
        silicon_leak: leakage of the boards relative to their model, (K, B, M).
        power_bias: relative error of the power estimates, (B, M).
        running: 1 for a running, 0 for a standing site.
        preset: preset index per cohort, (B, M).
    """
    site, hall = twin.site, twin.hall
    xp, fw = site.xp, site.params.firmware
    one = xp.ones_like(power_bias)
    warm = start_state(hall, temp_amb_c, xp=xp)
    amb = one * xp.column(temp_amb_c)
    nodes = (warm.temp_chip_c.T, warm.temp_sink_c.T, warm.temp_hot_c.T, warm.log_duty.T)
    if running == 0.0:
        nodes = (amb, amb, amb + fw.chip_offset_k, one * LOG_DUTY_OFF)
    cells = warm.structure_c.reshape(-1, *warm.structure_c.shape[2:])
    return HallSiteState(
        firmware.settled_state(one, running, preset, fw),
        *nodes,
        structure_c=cells.T,
        share_up=one,
        silicon_leak=xp.sum(silicon_leak * site.miners.board_present, axis=0) / site.boards,
        power_bias=power_bias,
    )


@dataclass(frozen=True)
class HallHeat:
    """What the heat balance of a control step is computed from, when somebody asks for it."""

    before: HallState
    after: HallState
    outcome: HallOutcome
    weather: Weather
    hall: Hall
    dt_s: float
    xp: Namespace

    def out_j(self) -> Array:
        """Heat of the miners that left with the air and through the envelope, J, (B,)."""
        balance = self._balance()
        return balance.air_out_j + balance.envelope_j

    def stored_j(self) -> Array:
        """Heat of the miners that boards, air and structure took up, J, (B,)."""
        return self._balance().stored_j

    def _balance(self) -> EnergyBalance:
        before, after = self.before, self.after
        return energy_balance_j(before, after, self.outcome, self.weather, self.hall, self.dt_s, xp=self.xp)


class HallSiteOutcome(NamedTuple):
    """What happened in a control step: to the site as everywhere, and to its hall."""

    site: Outcome
    hall: HallOutcome


def transition(
    state: HallSiteState,
    command: FirmwareCommand,
    plant: PlantCommand,
    weather: Weather,
    u_restart: Array,
    twin: HallSite,
) -> tuple[HallSiteState, HallSiteOutcome]:
    """Advance a site in its hall by one control step.

    Args:
        state: at the start.
        command: what was written to the firmware, (B, M).
        plant: what the plant is set to, sites last.
        weather: outdoor air over the step, (B,) each.
        u_restart: uniform draw for failed restarts, (B, M).
        twin: constants, from :func:`prepare_hall_site`.

    Returns:
        State at the end and what happened. Energy is balanced: miners' power times time equals the heat that left and
        the heat stored.
    """
    site, hall = twin.site, twin.hall
    xp, fw = site.xp, site.params.firmware

    # --- firmware: what runs in each sub-step
    board_c = state.temp_hot_c - site.chip_offset_k
    fw_state, started, stopped = firmware.accept(state.firmware, command, state.temp_hot_c, board_c, fw, xp=xp)
    hashing, throttle = firmware.profile_of(fw_state, command.throttle, site.clock, fw, xp=xp)
    share_up, restart_usd = restarts(state.share_up, started, stopped, board_c, weather.temp_c, u_restart, site, xp=xp)

    # --- the preset that runs; a miner that waits for repair boots in vain
    entry = site.offset + xp.index(firmware.effective_preset(fw_state))
    dyn_w, leak_w, hashrate_ths = (xp.take(table, entry) * share_up for table in twin.tables)
    miners = replace(hall.miners, dyn_w=dyn_w.T, leak_0c_w=(leak_w * state.silicon_leak).T, hashrate_ths=hashrate_ths.T)
    running_hall = replace(hall, miners=miners)

    # --- hall
    before = state.of_hall(fw_state.tripped, hall)
    load = (hashing * throttle).swapaxes(-1, -2) if hashing.ndim > 2 else hashing * throttle
    booting = xp.above(fw_state.wait_s, 0.0)
    asked = HallCommand(plant, load, fw_state.running.T, booting.T)
    after, out = hall_transition(before, asked, weather, running_hall, site.dt_s, xp=xp)
    alive = 1.0 - xp.above(out.temp_hot_max_c.T, fw.temp_trip_c)
    tripped = fw_state.running * (1.0 - alive) * (1.0 - fw_state.tripped)
    cells = after.structure_c.reshape(-1, *after.structure_c.shape[2:])
    new = HallSiteState(
        firmware=firmware.advance(fw_state, command.throttle, alive, site.dt_s, fw, xp=xp),
        temp_chip_c=after.temp_chip_c.T,
        temp_sink_c=after.temp_sink_c.T,
        temp_hot_c=after.temp_hot_c.T,
        log_duty=after.log_duty.T,
        structure_c=cells.T,
        share_up=share_up,
        silicon_leak=state.silicon_leak,
        power_bias=state.power_bias,
    )
    intake_c = xp.sum(miners.count * out.temp_inlet_c, axis=0) / xp.sum(miners.count, axis=0)
    outcome = Outcome(
        power_w=out.power_w.T,
        hashrate_ths=out.hashrate_ths.T,
        hashing=hashing[-1] * alive,
        temp_board_c=after.temp_hot_c.T - site.chip_offset_k,
        temp_chip_max_c=out.temp_hot_max_c.T,
        fan_duty=out.duty.T,
        power_miners_w=out.power_miners_w,
        power_cooling_w=out.power_cooling_w,
        power_site_w=out.power_miners_w + out.power_cooling_w,
        temp_intake_c=intake_c,
        temp_hot_c=xp.max(xp.max(out.air_c, axis=0), axis=0),
        wear_usd=out.wear_usd,
        restart_usd=restart_usd,
        stopped=stopped,
        stops=xp.dot(stopped, site.weights),
        tripped=xp.dot(tripped, site.weights),
        heat=HallHeat(before, after, out, weather, running_hall, site.dt_s, xp),
    )
    return new, HallSiteOutcome(outcome, out)
