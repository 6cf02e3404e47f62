"""Level 1: a model registered by hand, and nothing else."""
