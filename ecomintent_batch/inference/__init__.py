"""A shard → a part: tokens, batches, engines."""
