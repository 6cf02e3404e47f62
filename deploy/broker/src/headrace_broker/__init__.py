"""A real Apache Kafka in KRaft mode, started by the project without Docker."""
