"""Settings of console beyond the common ones."""
