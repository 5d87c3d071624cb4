"""Soft actor-critic for cooled halls, behind a shield from the first step on."""
