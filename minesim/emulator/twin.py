"""The physics under the emulator: one twin of a fleet whose miners are commanded and configured one by one.

Nothing here computes physics: :func:`minesim.site.transition` and :func:`minesim.site.measure` do. What a miner can be
configured to apart from its command (restart temperature, fan mode, preset switcher, a blocked intake, a lost board) is
laid out as arrays per miner in the constants that the transition is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minesim import noise
from minesim.arrays import NUMPY
from minesim.control.actuate import command_power_w
from minesim.control.fleet import CohortSpec
from minesim.control.telemetry import Telemetry
from minesim.emulator.weather import Weather
from minesim.physics.firmware import FirmwareCommand, effective_preset
from minesim.site import (
    LOG_DUTY_OFF,
    Exogenous,
    Outcome,
    PreparedSite,
    SiteParams,
    SiteState,
    hashrate_noise,
    initial_state,
    measure,
    prepare,
    transition,
    weather_of_site,
    weather_terms,
)
from minesim.site_spec import SiteSpec

SILICON_SD = 0.05
"""Relative spread of leakage between boards (assumed, as in the environments)."""
POWER_BIAS = 0.05
"""Half-width of the error of the firmware's power estimate: nameplate tolerance."""
SLACK_S = 1e-6
"""Sums of control steps may miss a time by a hair."""
NEVER_C = 1e6
"""A temperature that is never reached."""
FAN_OFF_DUTY = math.exp(LOG_DUTY_OFF)
"""Air through a miner whose fans stand, as a share of full flow."""
NOISE_STEPS = 64
"""Steps whose noise is drawn at once."""
STOPPED, FAILED, BOOTING, MINING = range(4)
"""Phases of a miner."""


@dataclass(frozen=True)
class FleetDraw:
    """What a fleet is born with.

    Attributes:
        silicon_leak: leakage of each board relative to its model, (K, M).
        power_bias: relative error of each miner's power estimate, (M,).
        noise_seed: seed of the noise of hashrate readings.
    """

    silicon_leak: np.ndarray
    power_bias: np.ndarray
    noise_seed: int


def draw_fleet(params: SiteParams, seed: int) -> FleetDraw:
    """Draw a fleet; the same seed gives the same one."""
    rng = np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, 0])
    shape = params.miners.board_present.shape
    noise_seed = int(rng.integers(0, 2**32))
    leak = np.exp(SILICON_SD * rng.standard_normal(shape) - 0.5 * SILICON_SD**2)
    return FleetDraw(leak, POWER_BIAS * rng.uniform(-1.0, 1.0, shape[1]), noise_seed)


def one_by_one(spec: SiteSpec) -> SiteSpec:
    """The same site with a cohort for each miner."""
    cohorts = tuple(replace(cohort, count=1) for cohort in spec.cohorts for _ in range(cohort.count))
    return replace(spec, cohorts=cohorts)


def spec_of_models(models: tuple[str, ...], step_s: float) -> SiteSpec:
    """A site of these miners that integrates in sub-steps of a minute at most."""
    cohorts = tuple(CohortSpec(name, 1) for name in models)
    return SiteSpec("emulated", cohorts, sub_steps=max(1, math.ceil(step_s / 60.0)))


@dataclass
class Setup:
    """What miners are configured to, and what is broken, (M,) unless said; to be changed only through the twin.

    Attributes:
        trip_c: chip temperature at which mining stops.
        fan_target_c: chip temperature that the fans hold; :data:`NEVER_C` where they are driven by hand.
        fan_duty_min: lowest duty while hashing, and the duty of fans driven by hand.
        fan_duty_boot: lowest duty while booting.
        switcher_on: 1 where the preset switcher is on.
        switcher_decrease_c, switcher_rise_c, switcher_check_s: its settings.
        switcher_floor: number of the lowest preset that it takes.
        flow_share: share of the air that passes.
        board_works: 1 for a working board, (K, M).
    """

    trip_c: np.ndarray
    fan_target_c: np.ndarray
    fan_duty_min: np.ndarray
    fan_duty_boot: np.ndarray
    switcher_on: np.ndarray
    switcher_decrease_c: np.ndarray
    switcher_rise_c: np.ndarray
    switcher_check_s: np.ndarray
    switcher_floor: np.ndarray
    flow_share: np.ndarray
    board_works: np.ndarray


@dataclass(frozen=True)
class Readings:
    """What the miners' instruments say since the last step, as Python numbers, one a miner.

    Attributes:
        hashrate_ths, power_w, fan_duty: see :class:`minesim.control.telemetry.Telemetry`.
        temp_chip_c, temp_board_c: hottest, whole degC.
        boards_c: outlet and inlet side of each board, whole degC, as one pair of lists a board.
        hashing: share.
        preset: number of the preset that runs.
        phase: what it does, e.g. :data:`MINING`.
        phase_since_s: since when, s after the start of the emulation.
    """

    hashrate_ths: list[float]
    power_w: list[float]
    temp_chip_c: list[float]
    temp_board_c: list[float]
    boards_c: list[tuple[list[float], list[float]]]
    fan_duty: list[float]
    hashing: list[float]
    preset: list[int]
    phase: list[int]
    phase_since_s: list[float]


class FleetTwin:
    """M miners in one room, stepped together.

    Args:
        params: a site whose cohorts are single miners.
        draw: silicon, sensor errors and noise.
        weather: outdoor air.
        step_s: control step, s.
        running: whether the fleet runs at the start.
    """

    def __init__(
        self, params: SiteParams, draw: FleetDraw, weather: Weather, step_s: float, *, running: bool = True
    ) -> None:
        self.params = params
        self.step_s = step_s
        self.step_count = 0
        self._draw = draw
        self._weather = weather
        self._base = prepare(params, None, step_s, np.zeros(1))
        self._xp = self._base.xp
        fw, curves = params.firmware, params.curves
        miners = len(curves.models)
        one = np.ones(miners)
        self.run = one * float(running)
        self.preset = curves.preset_last.copy()
        self.throttle = one.copy()
        self.setup = Setup(
            trip_c=one * fw.temp_trip_c,
            fan_target_c=one * fw.fan_target_c,
            fan_duty_min=one * fw.fan_duty_min,
            fan_duty_boot=one * fw.fan_duty_boot,
            switcher_on=one * float(fw.switcher_on),
            switcher_decrease_c=one * fw.switcher_decrease_c,
            switcher_rise_c=one * fw.switcher_rise_c,
            switcher_check_s=0.0 * one,
            switcher_floor=0.0 * one,
            flow_share=one.copy(),
            board_works=np.ones_like(params.miners.board_present),
        )
        self._checked_s = -np.inf * one
        rows = weather_terms(weather.temp_amb_c, weather.rel_humidity_pct, weather.pressure_pa, xp=NUMPY)
        self._wetbulb_c, self._density_ratio = rows
        self._site: PreparedSite | None = None
        self._idle: PreparedSite | None = None
        self._exog: tuple[int, Exogenous] | None = None
        # An environment draws numbers 0 to 3 M in a step, and the middle third is this noise.
        self._draws = np.arange(miners, 2 * miners)
        self._noise_block = np.zeros((0, miners))
        self._none = np.zeros(miners)
        self.state = self._initial(running)
        self.phase = self._phases()
        self._phase_since_s = 0.0 * one
        self.outcome: Outcome | None = None
        self.telemetry = self._first_telemetry()
        self._readings: Readings | None = None

    # ------------------------------------------------------------------ time

    @property
    def elapsed_s(self) -> float:
        """Time since the start of the emulation, s."""
        return self.step_count * self.step_s

    def step(self) -> None:
        """Advance by one control step; what was commanded before acts from its start."""
        before_s = self.elapsed_s
        wait_s = self.state.firmware.wait_s
        command = FirmwareCommand(self.run.copy(), self.preset.copy(), self.throttle.copy())
        self.state, outcome = transition(self.state, command, self._exogenous(before_s), self._site_now(before_s))
        self.outcome = outcome
        boots_anew = self.state.firmware.wait_s > np.maximum(wait_s - self.step_s, 0.0) + SLACK_S
        phase = self._phases()
        changed = (phase != self.phase) | (boots_anew & (phase == BOOTING))
        self._phase_since_s = np.where(changed, before_s, self._phase_since_s)
        self.phase = phase
        self.telemetry = measure(
            self.state.power_bias, outcome, self._noise(), self._none, self.params.firmware.chip_offset_k, xp=self._xp
        )
        self.step_count += 1
        self._readings = None

    # ------------------------------------------------------------------ commands

    def set_preset(self, miner: int, configured: int) -> None:
        """Configure a preset; a switcher that has stepped down stays as far below it."""
        self.preset[miner] = float(configured)

    def start_switcher(self, miner: int, ceiling: int, configured: int) -> None:
        """Let the switcher begin at the configured preset, with the right to rise up to ``ceiling``.

        Where it stands is rewritten such that the preset that runs stays; the firmware then sees the change at its next
        step like any other. Equal arguments take back what it has stepped down.
        """
        fw = self.state.firmware
        steps = float(max(ceiling - configured, 0))
        runs = float(effective_preset(fw)[miner])
        self.preset[miner] = configured + steps
        self._replace_firmware(
            switcher_steps=_with(fw.switcher_steps, miner, steps), preset=_with(fw.preset, miner, runs + steps)
        )

    def restart(self, miner: int) -> None:
        """Restart mining: it stops and boots at the next step."""
        self.run[miner] = 1.0
        self._replace_firmware(running=_with(self.state.firmware.running, miner, 0.0))

    def changed(self) -> None:
        """Have the setup looked at again."""
        self._site = self._idle = None
        self._exog = None

    # ------------------------------------------------------------------ readings

    def readings(self) -> Readings:
        """What the instruments say, as Python numbers; computed once a step."""
        if self._readings is None:
            fw, told = self.state.firmware, self.telemetry
            sinks_c = self.state.temp_sink_c
            rise_k = self.state.temp_board_c - sinks_c.max(axis=0)
            boards = [(np.rint(sink + rise_k).tolist(), np.rint(sink - rise_k).tolist()) for sink in sinks_c]
            self._readings = Readings(
                hashrate_ths=told.hashrate_ths.tolist(),
                power_w=told.power_w.tolist(),
                temp_chip_c=told.temp_chip_c.tolist(),
                temp_board_c=told.temp_board_c.tolist(),
                boards_c=boards,
                fan_duty=told.fan_duty.tolist(),
                hashing=told.hashing.tolist(),
                preset=effective_preset(fw).astype(int).tolist(),
                phase=self.phase.tolist(),
                phase_since_s=self._phase_since_s.tolist(),
            )
        return self._readings

    # ------------------------------------------------------------------ inside

    def _initial(self, running: bool) -> SiteState:
        amb_c = np.float64(self._weather.temp_amb_c[0])
        return initial_state(
            self._base,
            amb_c,
            self._draw.silicon_leak,
            self._draw.power_bias,
            running=float(running),
            preset=self.preset.copy(),
        )

    def _first_telemetry(self) -> Telemetry:
        """Readings before the first step: those of the command, as where an environment begins."""
        curves, run = self._base.params.curves, self.run
        command = FirmwareCommand(run, self.preset, self.throttle)
        power_w = command_power_w(command, curves, xp=self._xp)
        board_c = np.rint(self.state.temp_sink_c.max(axis=0))
        return Telemetry(
            hashrate_ths=curves.at_preset(curves.preset_hashrate_ths, self.preset, xp=self._xp) * run,
            power_w=power_w,
            temp_chip_c=board_c + self.params.firmware.chip_offset_k,
            temp_board_c=board_c,
            fan_duty=np.exp(self.state.log_duty),
            hashing=run.copy(),
            age_s=self._none,
            power_site_w=np.sum(curves.count * power_w),
            temp_intake_c=np.float64(self._weather.temp_amb_c[0]),
        )

    def _phases(self) -> np.ndarray:
        fw = self.state.firmware
        works = (self.setup.board_works * self.params.miners.board_present).any(axis=0)
        failed = (fw.tripped > 0.0) | ~works
        started = np.where(failed, FAILED, np.where(fw.wait_s > 0.0, BOOTING, MINING))
        phases: np.ndarray = np.where(fw.running > 0.0, started, STOPPED)
        return phases

    def _replace_firmware(self, **arrays: np.ndarray) -> None:
        self.state = replace(self.state, firmware=replace(self.state.firmware, **arrays))
        self._readings = None

    def _exogenous(self, elapsed_s: float) -> Exogenous:
        row = self._weather.row_at(elapsed_s)
        if self._exog is None or self._exog[0] != row:
            amb_c, wetbulb_c, ratio = (
                np.float64(series[row]) for series in (self._weather.temp_amb_c, self._wetbulb_c, self._density_ratio)
            )
            exog = Exogenous(amb_c, wetbulb_c, ratio, self._none)
            self._exog = row, replace(exog, terms=weather_of_site(exog, self._configured()))
        return self._exog[1]

    def _configured(self) -> PreparedSite:
        """The site's constants for the present setup."""
        if self._site is None:
            base, setup = self._base, self.setup
            air_cooled = 1.0 - base.miners.liquid
            log_min = np.log(setup.fan_duty_min) * air_cooled
            works = setup.board_works
            present = np.maximum(base.miners.board_present.sum(axis=0), 1.0)
            share = (works * base.miners.board_present).sum(axis=0) / present
            table_width = base.hashrate_ths.size // share.size
            self._site = replace(
                base,
                miners=replace(base.miners, flow_max_w_per_k=base.miners.flow_max_w_per_k * setup.flow_share),
                minus_flow_board=base.minus_flow_board * setup.flow_share,
                per_board=base.miners.board_present * works,
                padded=base.padded or bool((works < 1.0).any()),
                hashrate_ths=base.hashrate_ths * np.repeat(share, table_width),
                log_duty_run=log_min - LOG_DUTY_OFF,
                log_duty_boot=np.log(np.maximum(setup.fan_duty_boot, setup.fan_duty_min)) * air_cooled - log_min,
                board_target_c=setup.fan_target_c - self.params.firmware.chip_offset_k,
                board_trip_c=setup.trip_c - self.params.firmware.chip_offset_k,
            )
        return self._site

    def _noise(self) -> np.ndarray:
        """Factors on the hashrate readings of the present step, drawn many steps at once."""
        number = self.step_count % NOISE_STEPS
        if number == 0:
            steps = np.arange(self.step_count, self.step_count + NOISE_STEPS)[:, None, None]
            u = noise.uniform(np.array([[self._draw.noise_seed]]), steps, self._draws)[:, 0]
            self._noise_block = hashrate_noise(u)
        factors: np.ndarray = self._noise_block[number]
        return factors

    def _site_now(self, elapsed_s: float) -> PreparedSite:
        """Constants of a step: the switcher acts only where its check is due."""
        setup = self.setup
        due = (setup.switcher_on > 0.0) & (elapsed_s >= self._checked_s + setup.switcher_check_s - SLACK_S)
        if not due.any():
            if self._idle is None:
                self._idle = self._with_switcher({"switcher_on": False})
            return self._idle
        self._checked_s = np.where(due, elapsed_s, self._checked_s)
        above_floor = effective_preset(self.state.firmware) > setup.switcher_floor
        return self._with_switcher(
            {
                "switcher_on": True,
                "switcher_decrease_c": np.where(due & above_floor, setup.switcher_decrease_c, NEVER_C),
                "switcher_rise_c": np.where(due, setup.switcher_rise_c, -NEVER_C),
            }
        )

    def _with_switcher(self, values: dict[str, Any]) -> PreparedSite:
        site = self._configured()
        # The trip temperature is looked at only to tell whether any miner may trip; each trips at its own.
        firmware = replace(site.params.firmware, temp_trip_c=float(self.setup.trip_c.min()), **values)
        return replace(site, params=replace(site.params, firmware=firmware))


def _with(values: np.ndarray, index: int, value: float) -> np.ndarray:
    changed = values.copy()
    changed[index] = value
    return changed
