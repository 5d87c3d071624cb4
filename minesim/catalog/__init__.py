"""Hardware as data rows with sources, and one electrical model per hardware model."""

from __future__ import annotations

from minesim.catalog.electrical import Electrical, Provenance, electrical, electrical_models, preset_grid
from minesim.catalog.models import (
    UNKNOWN_CHIP,
    AsicModel,
    Preset,
    canonical_name,
    chip_of,
    load_models,
    load_presets,
    model,
    presets,
)

__all__ = [
    "UNKNOWN_CHIP",
    "AsicModel",
    "Electrical",
    "Preset",
    "Provenance",
    "canonical_name",
    "chip_of",
    "electrical",
    "electrical_models",
    "load_models",
    "load_presets",
    "model",
    "preset_grid",
    "presets",
]
