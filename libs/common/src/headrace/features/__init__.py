"""Features: tiles, values as of an instant, rows, and the dataset that a version is trained on."""
