"""Parts of the calibrated generator: weather, price, coin, load (see :mod:`minesim.scenario.generate`)."""
