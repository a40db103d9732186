"""Everything that gives a probability per frame: baselines and networks, all alike to whoever scores them."""
