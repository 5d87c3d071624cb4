"""A picture of a site in its hall and its last day, as an RGB array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from minesim.envs.render import draw_header, draw_power, draw_price, draw_temps, now_utc
from minesim.envs.render_cooling import draw_room
from minesim.envs.render_parts import Record, clock_ticks, day_panels, hours_back, page, pixels, series
from minesim.errors import TelemetryError, explain

if TYPE_CHECKING:
    from minesim.envs.site_core import SiteHallCore


def draw_site_in_hall(core: SiteHallCore, day: Sequence[Record]) -> npt.NDArray[np.uint8]:
    """Draw one site: the air of its hall with miners and fans, then price, power and temperatures of the last day.

    Args:
        core: a core of one site, after a reset.
        day: the ``info`` of the last steps, oldest first, at most a day; may be empty.

    Returns:
        Image, (H, W, 3) uint8.

    Raises:
        MissingExtraError: matplotlib is not installed.
        TelemetryError: the core has not been reset yet, or has many sites.
    """
    if core.num_envs != 1 or not hasattr(core, "outcome"):
        raise TelemetryError(explain("there is no hall to draw", fix="Call reset of a single environment first."))
    figure = page()
    draw_header(figure, core, day)
    draw_room(figure, core.world.config.layout_name, core.hall, core.outcome)
    places = {
        "energy price, USD/MWh": (0.04, 0.06, 0.27, 0.24),
        "power, kW": (0.37, 0.06, 0.27, 0.24),
        "temperature, °C": (0.70, 0.06, 0.28, 0.24),
    }
    panels = day_panels(figure, places, clock_ticks(now_utc(core), core.world.scenario.site_timezone), bool(day))
    if day:
        hours = hours_back(day, core.world.config.dt_ctrl_s)
        draw_price(panels[0], hours, series(day, "energy_price_usd_per_mwh"))
        draw_power(panels[1], core, hours, day)
        draw_temps(panels[2], core, hours, day)
        # Where the curves of a running site are not: below its power, between chips and intakes.
        for axes, height in ((panels[1], 0.12), (panels[2], 0.42)):
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, height), fontsize=8, frameon=False, ncols=2)
    return pixels(figure)
