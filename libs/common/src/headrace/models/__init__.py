"""Models as data: reproducible digests, and the one file format that is loaded."""
