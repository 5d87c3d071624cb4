"""Learning from recorded rollouts: data sets in Minari's format and implicit Q-learning over them."""
