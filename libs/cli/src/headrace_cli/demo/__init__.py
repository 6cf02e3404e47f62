"""The demo: real flights through every service, reported as it happens, and measured from the log at the end."""
