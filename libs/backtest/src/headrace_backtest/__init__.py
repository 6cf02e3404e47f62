"""What a policy of monitoring and retraining would have asked for on a deployment's own log, and what that would have gained."""
