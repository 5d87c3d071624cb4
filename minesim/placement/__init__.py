"""Placement: which model stands where in a hall, judged by the hall's steady states over a climate's hours."""

from __future__ import annotations
