"""An air-cooled ASIC miner as a device: one rail, a clock for each board, and its fans."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.catalog import UNKNOWN_CHIP, chip_of, electrical, preset_grid
from minesim.catalog.electrical import Electrical
from minesim.control.fleet import CohortSpec
from minesim.errors import ParamsError, explain
from minesim.physics import asic, fan, heatsink, psu, psychrometrics, stability, wear
from minesim.physics.firmware import FirmwareParams
from minesim.site import DENSITY_REF, HA_EXPONENT, MinerArrays, WearParams
from minesim.site_spec import MARGIN_USD_PER_THS_DAY, SiteSpec, build_site
from minesim.tuning.device import Knob, Settled, Unit, Vector, rows
from minesim.units import PRESSURE_SEA_LEVEL_PA

VOLT_STEP_V: Final = 0.03
"""Step of the rail (S19j Pro; DCENT_OS quoting LuxOS logs)."""
FREQ_STEP_MHZ: Final = 5.0
"""Step of a board's clock; assumed (published tables step by 25 MHz, autotuners finer)."""
VOLT_CAP_REL: Final = 15.00 / 13.80
"""Cap of the stock supply over the default rail (VNish, S19, live)."""
UNDERVOLT_REL: Final = 0.06
"""How far below the firmware's rail for its fastest board a rail may be set; assumed, twice the guard band."""
FREQ_RANGE_REL: Final = (0.5, 1.15)
"""Clocks searched, relative to stock, widened by the published table; assumed. VNish warns at 1.26 of the default."""
TARGET_RANGE_C: Final = (40.0, 78.0)
"""Chip temperature that the fans hold, degC; VNish allows 20 to 90, what lies outside is slow or above the limits."""
SETTLE_STEPS, SETTLE_DT_S = 40, 30.0
"""Twenty minutes, six time constants of the fan loop and more."""
TEMP_RUNAWAY_C: Final = 150.0
"""Temperatures are held below this, so that a board whose leakage runs away stays finite; it tripped long before."""
FAN_MODES: Final = ("target", "duty")


@dataclass(frozen=True)
class Miner:
    """A hardware model of the catalog.

    Attributes:
        name: model, full or short.
        fan_mode: what the last knob is: ``target`` (chip temperature that the firmware's fan loop holds) or ``duty``.
    """

    name: str
    fan_mode: str = "target"

    def __post_init__(self) -> None:
        if self.fan_mode not in FAN_MODES:
            raise ParamsError(explain(f"fan_mode is {self.fan_mode!r}", allowed=" or ".join(map(repr, FAN_MODES))))
        if self.curve.fan_count == 0:
            raise ParamsError(
                explain(
                    f"{self.curve.model!r} is liquid-cooled",
                    allowed="models with fans",
                    fix="Choose an air-cooled model: the thermal part of the tuning problem is its fan loop.",
                )
            )

    @functools.cached_property
    def curve(self) -> Electrical:
        """Electrical model of the catalog."""
        return electrical(self.name)

    @functools.cached_property
    def _constants(self) -> MinerArrays:
        return build_site(SiteSpec("bench", (CohortSpec(self.curve.model, 1),))).miners

    @functools.cached_property
    def _firmware(self) -> FirmwareParams:
        return FirmwareParams()

    @property
    def model(self) -> str:
        """Catalog name."""
        return self.curve.model

    @property
    def chip(self) -> str:
        """Of the catalog; a chip that is not known is taken to be the model's own."""
        chip = chip_of(self.model)
        return self.model if chip == UNKNOWN_CHIP else chip

    @functools.cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """Rail, a clock for each board, fans."""
        curve = self.curve
        low_mhz = max(curve.freq_min_mhz, FREQ_RANGE_REL[0] * curve.freq_stock_mhz)
        high_mhz = max(curve.freq_max_mhz, FREQ_RANGE_REL[1] * curve.freq_stock_mhz)
        stock_v = float(curve.rail_volt_v(curve.freq_stock_mhz))
        low_v = (1.0 - UNDERVOLT_REL) * float(curve.rail_volt_v(low_mhz))
        high_v = min(float(curve.rail_volt_v(high_mhz)), VOLT_CAP_REL * stock_v)
        clocks = (Knob(f"freq_board{k}_mhz", low_mhz, high_mhz, FREQ_STEP_MHZ) for k in range(1, curve.boards + 1))
        fans = {
            "target": Knob("fan_target_c", *TARGET_RANGE_C, step=1.0),
            "duty": Knob("fan_duty", self._firmware.fan_duty_min, 1.0, step=0.05),
        }[self.fan_mode]
        return (Knob("volt_v", low_v, high_v, VOLT_STEP_V), *clocks, fans)

    @property
    def channels(self) -> tuple[str, ...]:
        """Boards."""
        return tuple(f"board{k}" for k in range(1, self.curve.boards + 1))

    @property
    def channel_knobs(self) -> tuple[tuple[int, ...], ...]:
        """A board depends on the rail, its own clock and the fans."""
        return tuple((0, k, self.curve.boards + 1) for k in range(1, self.curve.boards + 1))

    @property
    def sensors(self) -> tuple[str, ...]:
        """Boards; a reading is the hottest sensor of one."""
        return self.channels

    @property
    def fan_knob(self) -> int:
        """Target or duty of the fans."""
        return self.curve.boards + 1

    @property
    def need_bend(self) -> float:
        """Need grows by 0.05 % a kelvin, and a unit's chips are a few kelvins off the catalog's; assumed."""
        return 0.0015

    def setting(self, freq_mhz: float, volt_v: float) -> Vector:
        """All boards alike, fans as the firmware has them, (D,)."""
        usual = self._firmware.fan_target_c if self.fan_mode == "target" else self.curve.fan_duty_ref
        return np.array([volt_v, *[freq_mhz] * self.curve.boards, usual])

    @property
    def stock(self) -> Vector:
        """Stock clock on the firmware's rail."""
        freq_mhz = self.curve.freq_stock_mhz
        return self.setting(freq_mhz, float(self.curve.rail_volt_v(freq_mhz)))

    @functools.cached_property
    def presets(self) -> Vector:
        """The catalog's preset grid, within the bounds of the knobs."""
        low = self.knobs[1].low
        grid = [p for p in preset_grid(self.curve.model) if (p.freq_mhz or 0.0) >= low]
        return np.array([self.setting(p.freq_mhz or 0.0, p.volt_v or 0.0) for p in grid])

    @property
    def deratings(self) -> Vector:
        """Lower clocks on the stock rail."""
        stock = self.stock
        clocks_mhz = np.linspace(self.knobs[1].low, self.curve.freq_stock_mhz, 24)
        return np.array([self.setting(float(freq_mhz), float(stock[0])) for freq_mhz in clocks_mhz])

    @property
    def hashprice_usd_per_ths_day(self) -> float:
        """Twice the margin that the twin assumes: 70 USD/PH/s/day for SHA-256, and like revenue a unit for others."""
        sha_256_ths = 104.0 if self.curve.hashrate_stock_ths < 1.0 else self.curve.hashrate_stock_ths
        return 2.0 * MARGIN_USD_PER_THS_DAY * sha_256_ths / self.curve.hashrate_stock_ths

    @property
    def ageing_usd_per_day(self) -> float:
        """Expected repair cost a day at the reference rate of ageing."""
        return float(self._constants.wear_usd_per_h[0]) * 24.0

    @property
    def trip_c(self) -> float:
        """Where the firmware stops mining."""
        return self._firmware.temp_trip_c

    def slope_excess(self, settings: Vector) -> Vector:
        """How far the rail lies below the least one for the fastest board, 6 % under the firmware's, relative."""
        settings = rows(settings, len(self.knobs))
        least_v = (1.0 - UNDERVOLT_REL) * self.curve.rail_volt_v(settings[:, 1:-1].max(axis=1))
        return np.asarray(np.maximum(1.0 - settings[:, 0] / least_v, 0.0))

    def settle(self, settings: Vector, unit: Unit, temp_amb_c: float) -> Settled:
        """Run the twin's boards, fans and supply at fixed settings until temperatures settle.

        Formulas and constants are those of :mod:`minesim.physics` and :mod:`minesim.site_spec`. The intake is outdoor
        air at sea level.
        """
        settings = rows(settings, len(self.knobs))
        curve, fixed, fw, boards = self.curve, self._constants, self._firmware, self.curve.boards
        volt_v, freq_mhz = settings[:, 0], settings[:, 1:-1].T
        column = np.ones((boards, 1))
        density = psychrometrics.density_air_kg_per_m3(np.float64(temp_amb_c), PRESSURE_SEA_LEVEL_PA) / DENSITY_REF
        flow = float(fixed.flow_max_w_per_k[0] * density)
        ntu_full = heatsink.ntu_at_flow(fixed.ntu_ref[0] * unit.cooling_rel, np.log(density), HA_EXPONENT, xp=NUMPY)
        network = heatsink.board_network(
            fixed.chip_j_per_k[0] * column,
            fixed.sink_j_per_k[0] * column,
            fixed.chip_sink_w_per_k[0] * unit.paste_rel[:, None],
            SETTLE_DT_S,
        )
        switching_w = asic.dynamic_power_w(freq_mhz, volt_v, curve.c_w_per_mhz_v2 / boards * unit.power_rel)
        if self.fan_mode == "target":
            target_c, low, high = settings[:, -1], np.full_like(volt_v, math.log(fw.fan_duty_min)), 0.0 * volt_v
        else:
            target_c, low, high = 0.0 * volt_v, np.log(settings[:, -1]), np.log(settings[:, -1])

        # It comes from standing still; the peak on the way is part of the answer.
        chip_c = sink_c = np.full_like(freq_mhz, temp_amb_c)
        board_c = peak_c = sink_c.max(axis=0)
        log_duty = np.clip(np.full_like(volt_v, math.log(0.6)), low, high)
        for _ in range(SETTLE_STEPS):
            board_w = switching_w + self._leakage_w(volt_v, chip_c, unit)
            duty = np.exp(log_duty)
            ntu = heatsink.ntu_at_flow(-ntu_full, log_duty, HA_EXPONENT, xp=NUMPY)
            ua = heatsink.ua_stream_w_per_k(-flow / boards * duty, ntu, xp=NUMPY)
            chip_source, sink_source = heatsink.sink_source_w(chip_c, sink_c, board_w, network)
            chip_c, sink_c = heatsink.node_temps_c(
                chip_source, sink_source, ua * temp_amb_c, network.sink_diagonal + ua, network
            )
            chip_c, sink_c = np.minimum(chip_c, TEMP_RUNAWAY_C), np.minimum(sink_c, TEMP_RUNAWAY_C)
            rise_k = ua * (sink_c - temp_amb_c) / (flow / boards * duty)
            _, outlet_c = heatsink.board_sensor_temps_c(sink_c, rise_k)
            before_c, board_c = board_c, outlet_c.max(axis=0)
            peak_c = np.maximum(peak_c, board_c)
            log_duty = fan.log_duty_step(
                log_duty,
                board_c,
                before_c,
                target_c - fw.chip_offset_k,
                fw.fan_integral_per_k_min * SETTLE_DT_S / 60.0,
                fw.fan_proportional_per_k,
                low,
                high,
                xp=NUMPY,
            )

        duty = np.exp(log_duty)
        dc_w = (switching_w + self._leakage_w(volt_v, chip_c, unit)).sum(axis=0)
        losses = psu.loss_coefficients(curve.psu_rated_dc_w, curve.psu_eta_rated)
        fans_w = fan.fan_power_w(duty, np.float64(fixed.fan_max_w[0]))
        margin = stability.margin_rel(
            volt_v,
            curve.needed_volt_v(freq_mhz),
            chip_c,
            unit.quality_rel[:, None],
            curve.temp_ref_c,
            xp=NUMPY,
        )
        wear_of = WearParams()
        hot = wear.arrhenius_factor(board_c + fw.chip_offset_k, wear_of.temp_ref_c, wear_of.activation_ev, xp=NUMPY)
        high_v = stability.volt_ageing_factor(volt_v, float(curve.rail_volt_v(curve.freq_stock_mhz)), xp=NUMPY)
        boards_ths = curve.hashrate_ths(freq_mhz) / boards
        return Settled(
            hashrate_clean_ths=boards_ths.sum(axis=0),
            share_at_risk=(boards_ths / boards_ths.sum(axis=0)).T,
            margin_rel=margin.T,
            power_w=dc_w + psu.loss_w(dc_w, 1.0, losses) + fixed.ctrl_w[0] + fans_w,
            temp_c=(outlet_c + fw.chip_offset_k).T,
            temp_peak_c=peak_c + fw.chip_offset_k,
            load_ratio=dc_w / (curve.psu_rated_dc_w * stability.OVERLOAD_RATIO),
            ageing_rel=hot * high_v,
            fan_duty=duty,
        )

    def _leakage_w(self, volt_v: Vector, chip_c: Vector, unit: Unit) -> Vector:
        curve = self.curve
        per_board = curve.g_w_per_v2 / curve.boards * unit.leakage_rel[:, None]
        watts = asic.leakage_power_w(volt_v, chip_c, per_board, curve.beta_per_k, curve.temp_ref_c, xp=NUMPY)
        return np.asarray(watts)
