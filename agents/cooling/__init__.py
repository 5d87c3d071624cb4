"""Agents for ``minesim/Cooling-v0``: rules, plans on the twin, learning behind a shield, and their benchmark."""
