"""Models that users bring: read, compared with their maker, registered."""
