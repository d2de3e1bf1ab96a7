"""A source → shards: formats, columns, times, rejects, and what earlier runs have classified."""
