"""How good a predictor is on a split, and how sure that is."""
