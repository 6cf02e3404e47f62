"""Statistics that several parts need: losses, sequential tests, pairs of scores, expected sample sizes."""
