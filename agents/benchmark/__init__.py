"""The benchmark: every agent on every scenario with the same weeks, seeds and draws, beside the bounds."""
