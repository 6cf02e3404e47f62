"""What the log tells about a decision, a version and a deployment: explained, made again, listed."""
