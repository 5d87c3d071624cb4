"""Reinforcement learning over the batched environment; needs ``minesim[agents]``."""
