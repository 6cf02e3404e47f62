"""The log: topics, records and their bytes, readers, members and producers. The only room that imports aiokafka."""
