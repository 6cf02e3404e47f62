"""The `headrace` command and the Python client."""
