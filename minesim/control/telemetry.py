"""What a site reports: the only thing, with known market data, that observations and the envelope may use."""

from __future__ import annotations

from dataclasses import dataclass

from minesim.arrays import Array

NO_ANSWER_AGE_S = 1e6
"""Age of a reading that never came."""
MINER_READINGS = ("hashrate_ths", "power_w", "temp_chip_c", "temp_board_c", "fan_duty", "hashing")
"""Fields that are missing when a miner does not answer."""


@dataclass(frozen=True)
class Telemetry:
    """One reading of all miners (or cohort representatives), each (B, M) unless said; NaN where a sensor failed.

    Attributes:
        hashrate_ths: hashrate of one miner as its firmware reports it, TH/s.
        power_w: wall power of one miner as its firmware estimates it (+-5 % unless metered), W.
        temp_chip_c: hottest chip, whole degC.
        temp_board_c: hottest board, whole degC.
        fan_duty: fan speed as a share of full speed.
        hashing: 1 while hashing, 0 while stopped, booting, changing preset or tripped.
        age_s: age of the reading, s.
        power_site_w: metered power of the site (miners, fans, cooling, transformer loss), W, (B,).
        temp_intake_c: room sensor at the intakes, degC, (B,).
    """

    hashrate_ths: Array
    power_w: Array
    temp_chip_c: Array
    temp_board_c: Array
    fan_duty: Array
    hashing: Array
    age_s: Array
    power_site_w: Array
    temp_intake_c: Array
