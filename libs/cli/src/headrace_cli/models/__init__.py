"""Models that users bring: they are read, compared with the library that made them, and registered."""
