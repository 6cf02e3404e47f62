"""The log: topics, records and their bytes, readers, members and producers. Only this package imports aiokafka."""
