"""Chip and heatsink of a hashboard as a two-node network in an air stream.

The two nodes are advanced by backward Euler. The intake temperature enters linearly, so the room can be solved for all
miners at once: :func:`sink_terms` prepares the elimination, the room gives the intake temperature, and
:func:`node_temps` finishes the step. Energy is conserved exactly by construction:
power in = heat stored in the two nodes + heat to the air.
"""

from __future__ import annotations

from minesim.arrays import Array, Namespace


def ua_stream_w_per_k(capacity_w_per_k: Array, ntu: Array, *, xp: Namespace) -> Array:
    """Conductance between a heatsink of one temperature and an air stream, referred to the stream's inlet.

    Args:
        capacity_w_per_k: heat capacity rate of the stream (mass flow times cp), W/K.
        ntu: number of transfer units hA / (m cp).
        xp: namespace of the arrays.

    Returns:
        ``m cp (1 - exp(-NTU))``, W/K.

    References:
        Effectiveness-NTU method with one isothermal side; Incropera, Fundamentals of Heat and Mass Transfer, ch. 11.
    """
    return -capacity_w_per_k * xp.expm1(-ntu)


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


def sink_terms(
    temp_chip_c: Array,
    temp_sink_c: Array,
    power_w: Array,
    chip_capacity_rate: Array,
    sink_capacity_rate: Array,
    chip_share: Array,
) -> Array:
    """Right-hand side of the heatsink equation after elimination of the chip node.

    Args:
        temp_chip_c, temp_sink_c: node temperatures at the start of the sub-step, degC.
        power_w: electrical power turned into heat in the chips, W.
        chip_capacity_rate: chip heat capacity over the sub-step, W/K.
        sink_capacity_rate: heatsink heat capacity over the sub-step, W/K.
        chip_share: ``g / (chip_capacity_rate + g)`` with g the chip-to-sink conductance.

    Returns:
        Source of the sink equation, W.
    """
    return sink_capacity_rate * temp_sink_c + chip_share * (chip_capacity_rate * temp_chip_c + power_w)


def node_temps(
    source_w: Array,
    temp_chip_c: Array,
    power_w: Array,
    temp_intake_c: Array,
    ua_w_per_k: Array,
    sink_diagonal: Array,
    chip_capacity_rate: Array,
    conductance_w_per_k: Array,
    chip_diagonal: Array,
) -> tuple[Array, Array]:
    """Finish the backward Euler step once the intake temperature is known.

    Args:
        source_w: from :func:`sink_terms`.
        temp_chip_c: chip temperature at the start, degC.
        power_w: chip heat, W.
        temp_intake_c: air at the miner's intake at the end of the sub-step, degC.
        ua_w_per_k: sink-to-intake conductance, W/K.
        sink_diagonal: diagonal of the sink equation without ``ua``, W/K.
        chip_capacity_rate: chip heat capacity over the sub-step, W/K.
        conductance_w_per_k: chip-to-sink conductance, W/K.
        chip_diagonal: ``chip_capacity_rate + conductance``, W/K.

    Returns:
        New chip and sink temperatures, degC.
    """
    temp_sink_new_c = (source_w + ua_w_per_k * temp_intake_c) / (sink_diagonal + ua_w_per_k)
    temp_chip_new_c = (chip_capacity_rate * temp_chip_c + power_w + conductance_w_per_k * temp_sink_new_c) / (
        chip_diagonal
    )
    return temp_chip_new_c, temp_sink_new_c


def board_sensor_temps_c(temp_sink_c: Array, air_rise_k: Array) -> tuple[Array, Array]:
    """What the board's inlet- and outlet-side sensors read.

    The board follows the air: its mean is the sink's temperature and it rises along the stream as the air does.

    Args:
        temp_sink_c: heatsink mean, degC.
        air_rise_k: outlet minus inlet air, K.

    Returns:
        Inlet-side and outlet-side board temperature, degC.
    """
    half = 0.5 * air_rise_k
    return temp_sink_c - half, temp_sink_c + half
