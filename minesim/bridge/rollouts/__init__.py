"""A candidate policy beside the incumbent: waves, evidence, moves."""
