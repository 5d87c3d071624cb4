"""The bridge: the same observations, actuation and envelope as in the twin, against real miners; runs without torch."""
