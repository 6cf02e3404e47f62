"""What all Headrace services share: events, the log, hosting, features, models and the project SDK."""
