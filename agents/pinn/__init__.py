"""Networks of rooms that know the heat balance: a surrogate of the steady room, and a field from a few sensors.

Needs ``minesim[pinn]``; only :mod:`agents.pinn.deepxde_backend` imports deepxde.
"""
