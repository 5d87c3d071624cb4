"""Networks as estimators of fields: :class:`FieldNetwork` plugs into :mod:`agents.fields.protocol`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from agents.fields.protocol import FieldRecord, GridEstimate
from agents.pinn.deepxde_backend import train
from agents.pinn.field_network import RoomNetwork
from agents.pinn.field_settings import FieldSettings
from agents.pinn.field_task import FieldTask, draw_member, field_task
from agents.pinn.steady import Floats

Show = Callable[[int, int, float], None]


def nobody(member: int, step: int, loss: float) -> None:
    """Nobody wants to know."""
    del member, step, loss


def go_on() -> bool:
    """Nobody wants to stop."""
    return False


@dataclass(frozen=True)
class FieldNetwork:
    """An ensemble of networks.

    Attributes:
        settings: of all members.
        show: is told member, step and loss.
        stop: whether to stop; what was trained by then is the estimate.
    """

    settings: FieldSettings
    show: Show = field(default=nobody, repr=False)
    stop: Callable[[], bool] = field(default=go_on, repr=False)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.settings.name

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """Train all members and join them; see :class:`agents.fields.protocol.FieldMethod`."""
        task = field_task(record, self.settings)
        fields: list[Floats] = []
        unknowns: list[Floats] = []
        for number, own in enumerate(rng.spawn(self.settings.members)):
            network, _ = self.train(task, number, own)
            if fields and self.stop():
                break
            fields.append(air_c(task, network))
            unknowns.append(in_priors(network))
        return joined(task, np.array(fields), np.array(unknowns))

    def train(
        self,
        task: FieldTask,
        number: int,
        rng: np.random.Generator,
        start: Callable[[RoomNetwork], None] = lambda network: None,
    ) -> tuple[RoomNetwork, int]:
        """Train a member; returns it with the steps done.

        Args:
            task: the record.
            number: of the member; the first is told the readings as they are.
            rng: of its weights, its noise and its rows.
            start: puts other weights in than drawn ones (:mod:`agents.pinn.field_transfer`).
        """
        s = self.settings
        network = task.network(int(rng.integers(2**31)))
        start(network)
        member = draw_member(task, number == 0, rng)
        with torch.no_grad():
            network.unknowns.copy_(member.anchor)
        weights = [p for name, p in network.named_parameters() if name != "unknowns"]
        groups = [{"params": weights, "lr": s.rate}]
        if len(network.unknowns):
            groups.append({"params": [network.unknowns], "lr": s.rate_unknowns * s.rate})
        structure = task.structure_rise_k(network)
        drawn = 0

        def draw() -> np.ndarray:
            nonlocal structure, drawn
            drawn += 1
            if drawn % s.renew == 0 and s.weighting != "none":
                structure = task.structure_rise_k(network)
            return rng.integers(0, task.rows, (s.batch, 1))

        steps = train(
            network,
            lambda rows, out: task.losses(network.unknowns, rows[:, 0].long(), out, structure, member),
            draw,
            s.steps,
            torch.optim.Adam(groups),
            s.rate_end,
            self.stop,
            lambda step, loss: self.show(number, step, loss),
        )
        return network, steps


def air_c(task: FieldTask, network: RoomNetwork) -> Floats:
    """Air of all cells at all rows, (T, nx, ny), degC.

    With inverse matrices the network's field less what the balance misses: one step of the solver from a guess that is
    already within tenths of a kelvin.
    """
    with torch.no_grad():
        index = torch.arange(task.rows)
        rise = network(index.float()[:, None])[:, : task.cells]
        if task.settings.weighting == "inverse":
            balance = task.coefficients.balance(network.unknowns, index)
            structure = task.structure_rise_k(network)
            rise = rise - task.missed_k(balance, rise.T, structure.T, index).T
        air: Floats = (rise + task.amb_c).reshape(task.rows, task.settings.nx, task.settings.ny).double().numpy()
    return air


def in_priors(network: RoomNetwork) -> Floats:
    """Unknowns of a network in standard deviations of their priors, (P,)."""
    found: Floats = network.unknowns.detach().double().numpy()
    return found


def prior_scale(unknowns: Floats) -> float:
    """How wide the priors of a room prove to be, over what was assumed of any room.

    Priors know clogged filters and biased sensors; a room that has none shows it, since what readings determine lies
    near its nominal value. This is one round of evidence approximation with one scale for all unknowns: squares of
    the likeliest values over the number of unknowns that readings determine, which the ensemble tells.

    Args:
        unknowns: of the members, in standard deviations of their priors; the likeliest first, (K, P).

    Returns:
        The scale; 1 without an ensemble, or where readings determine less than one unknown.

    References:
        MacKay, Bayesian Interpolation, Neural Computation 4 (1992), section 4.3.

    >>> round(prior_scale(np.array([[0.3, -0.3], [0.3, -0.3], [0.3, -0.3]])), 2)
    0.3
    >>> prior_scale(np.array([[0.0, 0.0], [1.2, -0.9], [-1.1, 1.3]]))  # nothing is determined
    1.0
    """
    if len(unknowns) < 2:
        return 1.0
    # Of the variance of its prior; of few members it is above 1 at times, and would then hide what others determine.
    left = np.minimum(((unknowns[1:] - unknowns[0]) ** 2).mean(axis=0), 1.0)
    determined = float(np.sum(1.0 - left))
    return float(np.sqrt(np.sum(unknowns[0] ** 2) / determined)) if determined >= 1.0 else 1.0


def joined(task: FieldTask, fields_c: Floats, unknowns: Floats | None = None) -> GridEstimate:
    """Field of the first member, on cells of half the size, and how far the others are from it.

    The first member was told the readings as they are and the priors where they are: the likeliest field. The others,
    with noise and priors drawn, are samples of what else might be true (randomised maximum likelihood), as far as
    priors are as wide as assumed: their spread is scaled by :func:`prior_scale`. What no ensemble shows is added: a
    floor, and the correction of the grid as a deviation of its own size.

    Args:
        task: the record.
        fields_c: of the members, (K, T, nx, ny), degC.
        unknowns: of the members, see :func:`prior_scale`; None without an ensemble.

    References:
        Randomised maximum likelihood: Oliver, Reynolds, Liu, Inverse Theory for Petroleum Reservoir
        Characterization (2008), ch. 10.
    """
    away = np.sqrt(((fields_c[1:] - fields_c[0]) ** 2).mean(axis=0)) if len(fields_c) > 1 else 0.0 * fields_c[0]
    scale = 1.0 if unknowns is None else prior_scale(unknowns)
    mean, spread = (part.repeat(2, axis=1).repeat(2, axis=2) for part in (fields_c[0], scale * away))
    grid = np.hypot(task.correction_k, task.settings.floor_k)
    return GridEstimate(mean + task.correction_k, np.hypot(spread, grid))
