"""A graphics card as a device: core clock, memory clock and power limit, and an algorithm that needs one or the other.

A second kind of device behind the same problem, so that methods are not tied to one. The card is a generic one of 320
W; all its constants are assumed, chosen to give the well-known picture: an algorithm bound by memory bandwidth gives up
power, not hashrate, when its core clock falls, and one bound by arithmetic follows the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.errors import ParamsError, explain, nearest
from minesim.physics import asic, stability, wear
from minesim.site import WearParams
from minesim.tuning.device import Knob, Settled, Unit, Vector, rows

CORE_STOCK_MHZ, MEMORY_STOCK_MHZ, POWER_STOCK_W = 1710.0, 9500.0, 320.0
VOLT_FLOOR_V, VOLT_CAP_V, FREQ_KNEE_MHZ, VOLT_PER_MHZ = 0.72, 1.08, 1100.0, 0.0005
"""The card's own voltage curve: a floor, a slope, and a cap that clocks beyond 1820 MHz outrun."""
GUARD_REL: Final = 0.04
MEMORY_MAX_MHZ: Final = 10900.0
"""Where a median card's memory starts to make errors."""
IDLE_W, CORE_W_PER_MHZ_V2, MEMORY_W_PER_MHZ, LEAKAGE_W_PER_V2 = 35.0, 0.115, 0.0075, 24.0
BETA_PER_K, TEMP_REF_C = 0.012, 65.0
R_TH_K_PER_W: Final = 0.11
"""From the air to the core at the fan speed that cards of this kind settle at."""
LIMIT_ITERATIONS: Final = 30
SHARPNESS: Final = 10.0
"""How sharply the slower of core and memory limits the hashrate."""


@dataclass(frozen=True)
class Algorithm:
    """What an algorithm asks of a card.

    Attributes:
        core_ths_per_mhz, memory_ths_per_mhz: hashrate that each could feed, TH/s per MHz.
        core_activity: share of the core's switching power.
        usd_per_ths_day: revenue, assumed so that the card at stock earns about 1 USD a day.
    """

    core_ths_per_mhz: float
    memory_ths_per_mhz: float
    core_activity: float
    usd_per_ths_day: float


ALGORITHMS: Final[Mapping[str, Algorithm]] = MappingProxyType(
    {
        "etchash": Algorithm(0.080e-6, 0.0102e-6, 0.75, 1.0 / 96e-6),
        "kawpow": Algorithm(0.028e-6, 0.0062e-6, 1.0, 1.0 / 46e-6),
        "autolykos2": Algorithm(0.150e-6, 0.0215e-6, 0.65, 1.0 / 200e-6),
    }
)


@dataclass(frozen=True)
class GpuCard:
    """A card that runs one algorithm (a key of :data:`ALGORITHMS`)."""

    algorithm: str

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ParamsError(explain(f"no GPU algorithm {self.algorithm!r}", fix=nearest(self.algorithm, ALGORITHMS)))

    @property
    def model(self) -> str:
        """Name of card and algorithm."""
        return f"GPU 320 W ({self.algorithm})"

    @property
    def chip(self) -> str:
        """One for all algorithms."""
        return "GPU 320 W"

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """Core clock, memory clock, power limit."""
        return (
            Knob("freq_core_mhz", 900.0, 2100.0, 15.0),
            Knob("freq_memory_mhz", 8000.0, 11600.0, 50.0),
            Knob("power_limit_w", 120.0, 350.0, 5.0),
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """Wrong arithmetic, and wrong data from memory."""
        return ("core", "memory")

    @property
    def channel_knobs(self) -> tuple[tuple[int, ...], ...]:
        """The core's margin hangs on its clock, which the power limit may lower; the memory's on its own."""
        return ((0, 2), (1,))

    @property
    def sensors(self) -> tuple[str, ...]:
        """The core."""
        return ("core",)

    @property
    def fan_knob(self) -> None:
        """The driver's own curve."""

    @property
    def need_bend(self) -> float:
        """The clock that a power limit leaves differs with leakage; assumed."""
        return 0.006

    @property
    def stock(self) -> Vector:
        """As it comes."""
        return np.array([CORE_STOCK_MHZ, MEMORY_STOCK_MHZ, POWER_STOCK_W])

    @property
    def presets(self) -> Vector:
        """Power limits from half to stock at stock clocks: what a driver offers without overclocking."""
        return np.array([[CORE_STOCK_MHZ, MEMORY_STOCK_MHZ, share * POWER_STOCK_W] for share in (0.55, 0.7, 0.85, 1.0)])

    @property
    def deratings(self) -> Vector:
        """The same."""
        return self.presets

    @property
    def hashprice_usd_per_ths_day(self) -> float:
        """Revenue of the algorithm."""
        return ALGORITHMS[self.algorithm].usd_per_ths_day

    @property
    def ageing_usd_per_day(self) -> float:
        """5 % a year of a repair of 150 USD (assumed)."""
        return 0.05 * 150.0 / 365.25

    @property
    def trip_c(self) -> float:
        """Where the driver shuts down (assumed)."""
        return 93.0

    def slope_excess(self, settings: Vector) -> Vector:
        """Nothing to keep: the card sets its own voltage."""
        return np.zeros(len(rows(settings, len(self.knobs))))

    def settle(self, settings: Vector, unit: Unit, temp_amb_c: float) -> Settled:
        """Lower the core clock until power keeps its limit at the settled temperature."""
        settings = rows(settings, len(self.knobs))
        wanted_mhz, memory_mhz, limit_w = settings.T
        low, high = np.full_like(wanted_mhz, 210.0), wanted_mhz
        for _ in range(LIMIT_ITERATIONS):
            middle = 0.5 * (low + high)
            fits = self._power_w(middle, memory_mhz, unit, temp_amb_c)[0] <= limit_w
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        free = self._power_w(wanted_mhz, memory_mhz, unit, temp_amb_c)[0] <= limit_w
        core_mhz = np.where(free, wanted_mhz, low)
        power_w, temp_c = self._power_w(core_mhz, memory_mhz, unit, temp_amb_c)

        spec = ALGORITHMS[self.algorithm]
        core_ths, memory_ths = spec.core_ths_per_mhz * core_mhz, spec.memory_ths_per_mhz * memory_mhz
        hashrate = (core_ths**-SHARPNESS + memory_ths**-SHARPNESS) ** (-1.0 / SHARPNESS)
        needed_v = (1.0 - GUARD_REL) * (VOLT_FLOOR_V + VOLT_PER_MHZ * (core_mhz - FREQ_KNEE_MHZ))
        core = stability.margin_rel(_volt_v(core_mhz), needed_v, temp_c, unit.quality_rel[0], TEMP_REF_C, xp=NUMPY)
        memory = stability.margin_rel(
            np.full_like(memory_mhz, MEMORY_MAX_MHZ), memory_mhz, temp_c, unit.quality_rel[1], TEMP_REF_C, xp=NUMPY
        )
        wear_of = WearParams()
        hot = wear.arrhenius_factor(temp_c, wear_of.temp_ref_c, wear_of.activation_ev, xp=NUMPY)
        volt_v = _volt_v(core_mhz)
        return Settled(
            hashrate_clean_ths=hashrate,
            share_at_risk=np.ones((len(settings), 2)),
            margin_rel=np.column_stack([core, memory]),
            power_w=power_w,
            temp_c=temp_c[:, None],
            temp_peak_c=temp_c,
            load_ratio=power_w / (1.25 * POWER_STOCK_W),
            ageing_rel=hot * stability.volt_ageing_factor(volt_v, float(_volt_v(np.array(CORE_STOCK_MHZ))), xp=NUMPY),
            fan_duty=np.full_like(power_w, 0.7),
        )

    def _power_w(self, core_mhz: Vector, memory_mhz: Vector, unit: Unit, temp_amb_c: float) -> tuple[Vector, Vector]:
        """Power and core temperature that agree with each other."""
        activity = ALGORITHMS[self.algorithm].core_activity * unit.power_rel
        volt_v = _volt_v(core_mhz)
        fixed_w = IDLE_W + MEMORY_W_PER_MHZ * memory_mhz
        fixed_w = fixed_w + asic.dynamic_power_w(core_mhz, volt_v, CORE_W_PER_MHZ_V2 * activity)
        resistance = R_TH_K_PER_W / (unit.cooling_rel * unit.paste_rel[0])
        temp_c = temp_amb_c + resistance * fixed_w
        power_w = fixed_w
        for _ in range(6):
            leak = asic.leakage_power_w(
                volt_v, temp_c, LEAKAGE_W_PER_V2 * unit.leakage_rel[0], BETA_PER_K, TEMP_REF_C, xp=NUMPY
            )
            power_w = fixed_w + leak
            temp_c = temp_amb_c + resistance * power_w
        return np.asarray(power_w), np.asarray(temp_c)


def _volt_v(core_mhz: Vector) -> Vector:
    """The card's voltage curve."""
    rail = asic.rail_volt_v(core_mhz, VOLT_FLOOR_V, FREQ_KNEE_MHZ, VOLT_PER_MHZ, CORE_STOCK_MHZ, VOLT_PER_MHZ, xp=NUMPY)
    return np.asarray(np.minimum(rail, VOLT_CAP_V))
