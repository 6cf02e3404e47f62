"""`headrace replay`: sends history as requests and outcomes in event time, and reports the results."""
