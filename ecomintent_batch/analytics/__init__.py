"""Committed runs → numbers: summaries, queries, alerts, the report, topics, the review sheet, tables for dashboards."""
