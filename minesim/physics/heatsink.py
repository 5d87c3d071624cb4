"""Chip and heatsink of a hashboard as a two-node network in an air stream.

The two nodes are advanced by backward Euler. The intake temperature enters linearly, so the room can be solved for all
miners at once: :func:`sink_source_w` prepares the elimination, the room gives the intake temperature, and
:func:`node_temps_c` finishes the step. Energy is conserved exactly by construction:
power in = heat stored in the two nodes + heat to the air.
"""

from __future__ import annotations

from typing import NamedTuple

from minesim.arrays import Array, Namespace


def ua_stream_w_per_k(minus_capacity_w_per_k: Array, minus_ntu: Array, *, xp: Namespace) -> Array:
    """Conductance between a heatsink of one temperature and an air stream, referred to the stream's inlet.

    Both arguments are negative so that a caller's constants can carry the signs.

    Args:
        minus_capacity_w_per_k: minus the heat capacity rate of the stream (mass flow times cp), W/K.
        minus_ntu: minus the number of transfer units hA / (m cp).
        xp: namespace of the arrays.

    Returns:
        ``m cp (1 - exp(-NTU))``, W/K.

    References:
        Effectiveness-NTU method with one isothermal side; Incropera, Fundamentals of Heat and Mass Transfer, ch. 11.
    """
    return minus_capacity_w_per_k * xp.exp(minus_ntu) - minus_capacity_w_per_k


def ntu_at_flow(ntu_ref: Array, log_flow_ratio: Array, exponent: float, *, xp: Namespace) -> Array:
    """Transfer units at another flow when hA grows as flow to the power ``exponent``.

    Args:
        ntu_ref: transfer units at the reference flow.
        log_flow_ratio: natural logarithm of flow over reference flow.
        exponent: 0.5 laminar to 0.8 turbulent; 0.7 here (assumed).
        xp: namespace of the arrays.

    Returns:
        Transfer units at that flow.
    """
    return ntu_ref * xp.exp((exponent - 1.0) * log_flow_ratio)


class BoardNetwork(NamedTuple):
    """Constants of the two-node network for one length of sub-step; any shape that broadcasts with the boards.

    Attributes:
        chip_rate, sink_rate: heat capacities over the sub-step, W/K.
        chip_share: ``g / (chip_rate + g)`` with g the chip-to-sink conductance.
        chip_inverse: ``1 / (chip_rate + g)``, K/W.
        sink_diagonal: diagonal of the sink equation without the air side, W/K.
    """

    chip_rate: Array
    sink_rate: Array
    chip_share: Array
    chip_inverse: Array
    sink_diagonal: Array


def board_network(chip_j_per_k: Array, sink_j_per_k: Array, chip_sink_w_per_k: Array, dt_s: float) -> BoardNetwork:
    """Prepare the network for sub-steps of ``dt_s``.

    Args:
        chip_j_per_k, sink_j_per_k: heat capacities of the two nodes of a board, J/K.
        chip_sink_w_per_k: conductance between them, W/K.
        dt_s: sub-step, s.
    """
    chip_rate, sink_rate = chip_j_per_k / dt_s, sink_j_per_k / dt_s
    inverse = 1.0 / (chip_rate + chip_sink_w_per_k)
    share = chip_sink_w_per_k * inverse
    return BoardNetwork(chip_rate, sink_rate, share, inverse, sink_rate + share * chip_rate)


def sink_source_w(temp_chip_c: Array, temp_sink_c: Array, power_w: Array, network: BoardNetwork) -> tuple[Array, Array]:
    """Right-hand sides of the chip equation and of the sink equation after elimination of the chip.

    Args:
        temp_chip_c, temp_sink_c: nodes at the start of the sub-step, degC.
        power_w: electrical power turned into heat in the board's chips, W.
        network: constants.

    Returns:
        Chip and sink source, W.
    """
    chip_source = network.chip_rate * temp_chip_c + power_w
    return chip_source, network.sink_rate * temp_sink_c + network.chip_share * chip_source


def node_temps_c(
    chip_source_w: Array, sink_source_w: Array, air_w: Array, sink_diagonal: Array, network: BoardNetwork
) -> tuple[Array, Array]:
    """Finish the backward Euler step once the intake temperature is known.

    Args:
        chip_source_w, sink_source_w: from :func:`sink_source_w`.
        air_w: sink-to-intake conductance times intake temperature, W.
        sink_diagonal: the network's diagonal plus that conductance, W/K.
        network: constants.

    Returns:
        New chip and sink temperatures, degC.
    """
    temp_sink_c = (sink_source_w + air_w) / sink_diagonal
    return network.chip_inverse * chip_source_w + network.chip_share * temp_sink_c, temp_sink_c


def board_sensor_temps_c(temp_sink_c: Array, air_rise_k: Array) -> tuple[Array, Array]:
    """What a board's inlet- and outlet-side sensors read.

    The board follows the air: its mean is the sink's temperature and it rises along the stream as the air does.

    Args:
        temp_sink_c: heatsink mean, degC.
        air_rise_k: outlet minus inlet air, K.

    Returns:
        Inlet-side and outlet-side board temperature, degC.
    """
    half_k = 0.5 * air_rise_k
    return temp_sink_c - half_k, temp_sink_c + half_k
