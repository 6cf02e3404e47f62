"""Support for tests: a conformance suite for logs, shards that count, builders, and pytest fixtures."""
