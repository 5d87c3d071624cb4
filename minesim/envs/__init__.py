"""Environments: one site, a native batch, torch tensors.

Importing this package registers the environments with Gymnasium, the one import effect in minesim: write
``import minesim.envs`` before ``gym.make("minesim/HashrateTuning-v0")``, or let Gymnasium import it with
``gym.make("minesim.envs:minesim/HashrateTuning-v0")``.
"""

from __future__ import annotations

from minesim.envs.registration import env_ids, make_parallel, make_torch, register, site_env_ids

__all__ = ["env_ids", "make_parallel", "make_torch", "register", "site_env_ids"]

register()
