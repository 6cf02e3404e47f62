"""The client side: requests and their answers, outcomes, and history that is replayed as requests."""
