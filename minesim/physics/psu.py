"""Power supply: wall power from DC power."""

from __future__ import annotations

from minesim.arrays import Array, Namespace

STANDBY_SHARE = 0.010
LINEAR_SHARE = 0.030
QUADRATIC_SHARE = 0.035
"""Relative weights of standby, linear (switching) and quadratic (resistive) loss at rated load; assumed, no
load-dependent efficiency curve of a mining supply was found."""


def loss_coefficients(rated_dc_w: Array | float, eta_rated: Array | float) -> tuple[Array, Array, Array]:
    """Coefficients of the loss ``a + b P + c P^2`` (W, 1, 1/W) for :func:`input_power_w`, to be computed once.

    Args:
        rated_dc_w: rated DC load, W.
        eta_rated: efficiency at rated load, 0 to 1.
    """
    unit_w = rated_dc_w * (1.0 / eta_rated - 1.0) / (STANDBY_SHARE + LINEAR_SHARE + QUADRATIC_SHARE)
    return unit_w * STANDBY_SHARE, unit_w * LINEAR_SHARE / rated_dc_w, unit_w * QUADRATIC_SHARE / rated_dc_w**2


def loss_w(power_dc_w: Array, on: Array | float, coefficients: tuple[Array, Array, Array]) -> Array:
    """Loss of a supply in W; ``on`` (0 or 1) switches the standby loss."""
    standby_w, linear, per_w = coefficients
    return on * standby_w + power_dc_w * (linear + per_w * power_dc_w)


def dc_load_w(input_w: Array, on: Array | float, coefficients: tuple[Array, Array, Array], *, xp: Namespace) -> Array:
    """DC load of a supply that draws ``input_w``, W: the inverse of the load with :func:`loss_w`; 0 below standby.

    >>> import numpy
    >>> size = loss_coefficients(3500.0, 0.93)
    >>> round(float(dc_load_w(numpy.float64(1200.0 + loss_w(1200.0, 1.0, size)), 1.0, size, xp=numpy)), 6)
    1200.0
    """
    standby_w, linear, per_w = coefficients
    over_w = xp.maximum(input_w - on * standby_w, 0.0 * input_w)
    return 2.0 * over_w / (1.0 + linear + xp.sqrt((1.0 + linear) ** 2 + 4.0 * per_w * over_w))


def input_power_w(power_dc_w: Array, rated_dc_w: Array | float, eta_rated: Array | float) -> Array:
    """Compute the power drawn from the grid for a DC load, with standby, linear and quadratic loss.

    The shape of the loss is assumed; its size is scaled so that the efficiency at rated load is ``eta_rated``. The
    supply is taken to be on: at zero load the standby loss remains.

    Args:
        power_dc_w: DC load, W, 0 or more.
        rated_dc_w: rated DC load, W.
        eta_rated: efficiency at rated load, 0 to 1 (APW12 0.93, APW9 0.91, APW7 0.88, APW3 0.85 per DCENT_OS).

    Returns:
        Wall power in W, the broadcast shape; monotone in the load and never below it.

    >>> round(input_power_w(3500.0, 3500.0, 0.93), 1)
    3763.4
    """
    return power_dc_w + loss_w(power_dc_w, 1.0, loss_coefficients(rated_dc_w, eta_rated))
