"""The estimators that the benchmark compares, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from agents.fields.data_only import AisleRbf, Kriging
from agents.fields.model_based import COARSE, CalibratedTwin, Ensemble, HeatKalman, NominalTwin
from agents.fields.protocol import FieldMethod
from minesim.calibrate.fit import FitSettings
from minesim.errors import pick


def network(name: str) -> FieldMethod:
    """A network of :mod:`agents.pinn` by the name of its preset; torch and DeepXDE are imported here."""
    from agents.pinn.field_method import FieldNetwork
    from agents.pinn.field_settings import presets

    return FieldNetwork(presets()[name])


METHODS: Final[Mapping[str, Callable[[], FieldMethod]]] = {
    "aisle_rbf": AisleRbf,
    "gaussian_process": Kriging,
    "nominal": NominalTwin,
    "kalman": HeatKalman,
    "ensemble": Ensemble,
    "calibrated_coarse_no_faults": lambda: CalibratedTwin(
        "calibrated 24x12, no faults", FitSettings(faults=False, fine=None)
    ),
    "calibrated_coarse": lambda: CalibratedTwin("calibrated 24x12, faults", COARSE),
    "calibrated_no_faults": lambda: CalibratedTwin("calibrated 48x24, no faults", FitSettings(faults=False)),
    "calibrated": lambda: CalibratedTwin("calibrated 48x24, faults (default)"),
    **{name: partial(network, name) for name in ("pinn", "pinn_points", "pinn_seed", "plain_network")},
}
"""Entry name -> a fresh method."""


def method(name: str) -> FieldMethod:
    """The method called ``name``.

    Raises:
        ParamsError: none is called so.
    """
    return pick("field method", name, METHODS)()


DATA_ONLY: Final = frozenset({"aisle_rbf", "gaussian_process", "plain_network"})
"""Methods that know no physics."""
