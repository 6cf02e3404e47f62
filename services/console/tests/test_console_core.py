"""What console decides."""
