"""`headrace replay`: history as requests and outcomes in event time, and what the deployment made of it."""
