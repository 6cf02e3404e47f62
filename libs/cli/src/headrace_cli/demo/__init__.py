"""The demo: real flights through every service, told as it happens, and measured from the log at the end."""
