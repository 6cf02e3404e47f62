"""The side of those who ask: requests and their answers, outcomes, and history that is played as requests."""
