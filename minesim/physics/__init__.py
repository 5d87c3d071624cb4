"""Pure physical formulas over numpy or torch arrays; no state, no clock, no randomness."""
