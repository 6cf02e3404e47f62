"""Forwards alerts from `alerts` to receivers outside: Alertmanager, webhooks, Slack. At least once, in the order of the log."""
