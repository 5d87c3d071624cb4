"""All tuning methods by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from agents.bo.baselines import BestPreset, CoordinateSearch, Grid, Random, Sobol, Stock, TreeParzen
from agents.bo.study import Method
from minesim.errors import MissingExtraError, explain, pick


def _bayes(name: str) -> Method:
    try:
        from agents.bo.bayes import BayesTuner, ParetoTuner
    except ImportError as error:
        raise MissingExtraError(
            explain("Bayesian optimisation needs botorch", fix="Install it with: pip install 'minesim[bo]'")
        ) from error
    return BayesTuner() if name == "bo" else ParetoTuner()


METHODS: Final[Mapping[str, Callable[[], Method]]] = MappingProxyType(
    {
        "bo": lambda: _bayes("bo"),
        "bo_pareto": lambda: _bayes("bo_pareto"),
        "stock": Stock,
        "best_preset": BestPreset,
        "grid": Grid,
        "random": Random,
        "sobol": Sobol,
        "tpe": TreeParzen,
        "coordinate": CoordinateSearch,
    }
)


def method(name: str) -> Method:
    """A tuning method.

    Raises:
        ParamsError: unknown name (nearest names suggested).
        MissingExtraError: its packages are not installed.
    """
    return pick("tuning method", name, METHODS, origin="agents/bo/methods.py")()
