"""What moves to the one service that uses it."""
