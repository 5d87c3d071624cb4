"""Fit the twin to telemetry: gaps, openings, fans and miners of a room, and the sensors themselves."""
