"""Statistics that more than one part needs: losses, sequential tests, pairs of scores, planned sample sizes."""
