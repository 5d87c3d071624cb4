"""Settings of networks that estimate a room's field from its sensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from minesim.errors import ParamsError, explain, nearest

TRUNKS = ("points", "cells")
WEIGHTINGS = ("inverse", "outflow", "none")
UNKNOWNS = ("none", "coefficients", "faults")


@dataclass
class FieldSettings:
    """A network and how it is trained.

    Attributes:
        name: what tables call it.
        trunk: ``points`` (a network of position and settings) or ``cells`` (of settings, all cells at once).
        widths: hidden layers, with residual links.
        weighting: of the heat balance: ``inverse`` (inverse matrices of reference settings, so that a residual weighs
            as much as the error of temperature behind it), ``outflow`` (over each cell's own), ``none`` (no physics).
        unknowns: what is learned beside the field: nothing, ``coefficients`` of the room, or these and named
            ``faults``.
        told: whether the network is told the unknowns beside the settings of a row; one that was trained on many
            simulated rooms (:mod:`agents.pinn.field_transfer`) then follows them.
        weight_data, weight_physics, weight_boundary: of readings, of the balance of inner cells, of the balance of
            cells at the walls, where fans, openings and leaks are.
        sd_data_k: of a reading about the field of a cell (noise, and what a cell does not resolve; assumed).
        sd_physics_k: of the balance's cells about the truth (assumed).
        independent: independent rows of a record, which set how heavy the priors of unknowns are (assumed).
        renew: steps after which the structure is renewed from the air.
        references: settings whose inverse matrices weight the balance.
        correct_grid: add what half the cells' size changes in the layout as it is (two solves of the record).
        members: of the ensemble; each has other weights, other noise and other priors.
        floor_k: standard deviation that no ensemble shows, beside the size of the grid's correction (assumed).
        steps, batch: of Adam; rows of the record a step.
        rate, rate_end: learning rate, falling as a cosine; ``rate_unknowns`` times that for the unknowns.
        nx, ny: cells.
    """

    name: str = "pinn"
    trunk: str = "cells"
    widths: list[int] = field(default_factory=lambda: [128, 128, 128])
    weighting: str = "inverse"
    unknowns: str = "faults"
    told: bool = False
    weight_data: float = 1.0
    weight_physics: float = 1.0
    weight_boundary: float = 1.0
    sd_data_k: float = 0.3
    sd_physics_k: float = 0.25
    independent: float = 30.0
    renew: int = 50
    references: int = 8
    correct_grid: bool = True
    members: int = 4
    floor_k: float = 0.15
    steps: int = 3000
    batch: int = 16
    rate: float = 2e-3
    rate_end: float = 1e-5
    rate_unknowns: float = 5.0
    nx: int = 24
    ny: int = 12

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError: see the message.
        """
        for name, allowed in (("trunk", TRUNKS), ("weighting", WEIGHTINGS), ("unknowns", UNKNOWNS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ParamsError(explain(f"agent.{name} is {value!r}", fix=nearest(value, allowed)))
        if self.weighting == "none" and (self.trunk != "points" or self.unknowns != "none"):
            raise ParamsError(
                explain("a network without physics", allowed="trunk 'points' and unknowns 'none'", origin="agent")
            )
        for name in ("members", "steps", "batch", "references"):
            if getattr(self, name) < 1:
                raise ParamsError(explain(f"agent.{name} is {getattr(self, name)}", allowed="1 or more"))
        for name in ("sd_data_k", "sd_physics_k", "independent", "rate", "rate_end"):
            if not getattr(self, name) > 0.0:
                raise ParamsError(explain(f"agent.{name} is {getattr(self, name):g}", allowed="above 0"))
        if not self.widths or min(self.widths) < 1:
            raise ParamsError(explain(f"agent.widths is {self.widths}", allowed="one or more positive widths"))


@dataclass
class PretrainSettings:
    """Training on simulated rooms of a layout.

    Attributes:
        rooms, rows: drawn from the priors, and 5-minute steps of each.
        ratio_low, ratio_high: commanded room fans over miners.
        steps, batch: of Adam; rows a step.
        rate, rate_end: learning rate, falling as a cosine.
        seed: of all draws; apart from those of hidden rooms.
    """

    rooms: int = 512
    rows: int = 48
    ratio_low: float = 0.65
    ratio_high: float = 1.5
    steps: int = 8000
    batch: int = 256
    rate: float = 2e-3
    rate_end: float = 1e-5
    seed: int = 1000


POINTS: Final = (64, 64, 64, 64)
SEED: Final = (64, 128, 256, 128, 64)


def presets() -> dict[str, FieldSettings]:
    """The networks by name, as in ``conf/fit_pinn/agent``: ours, ours on points, the first recipe, and no physics."""
    return {
        "pinn": FieldSettings(),
        "pinn_points": FieldSettings(name="pinn_points", trunk="points", widths=list(POINTS), batch=8),
        "pinn_seed": FieldSettings(
            name="pinn_seed",
            trunk="points",
            widths=list(SEED),
            weighting="outflow",
            unknowns="coefficients",
            weight_physics=0.5,
            weight_boundary=0.5,
            correct_grid=False,
            members=1,
            batch=4,
        ),
        "plain_network": FieldSettings(
            name="plain_network",
            trunk="points",
            widths=list(POINTS),
            weighting="none",
            unknowns="none",
            correct_grid=False,
            members=2,
            steps=1500,
        ),
    }
