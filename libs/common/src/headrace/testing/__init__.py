"""What tests need: logs that can be compared, shards that count, builders, fixtures of pytest."""
