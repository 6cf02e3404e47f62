"""What the log says about services, versions, rollouts and decisions."""
