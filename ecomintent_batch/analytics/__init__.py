"""Committed runs → numbers: summaries, queries, alerts, the report, the review sheet."""
