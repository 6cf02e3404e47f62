"""What the tests of a rollout would do on a deployment's own traffic: its decisions and labels, many simulated rollouts."""
