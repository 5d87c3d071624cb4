"""Estimators of a room's temperature field from a few sensors, and the hidden rooms that judge them."""
