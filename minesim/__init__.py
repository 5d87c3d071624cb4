"""minesim: a digital twin of a crypto-mining site, with Gymnasium environments over it."""

from __future__ import annotations

__version__ = "0.1.0"
