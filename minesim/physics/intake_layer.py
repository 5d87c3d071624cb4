"""The layer of returned air in front of a row, thinner than a cell.

What comes back through gaps and dampers enters an aisle at the row, where the miners take it in at once. Mixing carries
it into the aisle only over a depth of D / u, some centimetres at the speed u of the air towards the row. An upwind cell
spreads it over the whole cell, and neighbours along the aisle get it too.

Across a cell of depth h, steady advection and diffusion let the excess over the aisle fall as exp(-u y / D) from the
row; its mean over the cell is f = (1 - exp(-Pe)) / Pe of that at the row, Pe = u h / D. At the row the miners' flow F
takes in the returned flow B and fresh air. The balance of a cell has that mean if of the returned air the share

    s = 1 / (1 + rho X / F),   X = D A / h,   rho = f Pe / (1 - f)

goes straight into the miners and only the rest through the cell (A: face, X: exchange by mixing over the cell). The
intake is then s B / F of the air behind the row, the rest that of the cell. On fine grids s vanishes with h; with no
mixing it is 1; where more comes back than the miners take (Pe < 0), they take in nothing else.

``rho X`` is computed as (X - N + sqrt((N + X)^2 + 8 X^2)) / 2, where N = Pe X is the net flow towards the row: exact in
value and slope at Pe = 0 and in both limits, within 7 % in between, without a branch or a quotient.
"""

from __future__ import annotations

from minesim.arrays import Array, Namespace


def mixing_m3_per_s(net_m3_per_s: Array, exchange_m3_per_s: Array | float, *, xp: Namespace) -> Array:
    """``rho X``: what mixing over a cell carries away from the row for each kelvin of the cell's mean, as a flow.

    Args:
        net_m3_per_s: air towards the row, any sign.
        exchange_m3_per_s: X.
        xp: namespace of the arrays.
    """
    beyond = net_m3_per_s + exchange_m3_per_s
    square = 8.0 * exchange_m3_per_s * exchange_m3_per_s
    return 0.5 * (exchange_m3_per_s - net_m3_per_s + xp.sqrt(beyond * beyond + square))


def returned_share(
    intake_m3_per_s: Array,
    back_m3_per_s: Array,
    net_m3_per_s: Array,
    exchange_m3_per_s: Array | float,
    *,
    xp: Namespace,
) -> Array:
    """Share of the air behind a row in what its miners take in without passing the cell in front of it, 0 to 1.

    Args:
        intake_m3_per_s: what the miners blow through a face, 0 or more.
        back_m3_per_s: what comes back through it, 0 or more.
        net_m3_per_s: all air through the face, positive as the miners blow.
        exchange_m3_per_s: X, above 0.
        xp: namespace of the arrays.

    Returns:
        ``s B / F``, shape of the flows.
    """
    mixed = mixing_m3_per_s(net_m3_per_s, exchange_m3_per_s, xp=xp)
    return xp.minimum(back_m3_per_s / (intake_m3_per_s + mixed), 1.0)
