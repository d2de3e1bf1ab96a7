-- Tickets by intent within each value of a kept column (channel, brand, country …).
-- Parameters: run_id = one run, or NULL for all; by_column = the column
-- Grain: one row per value and intent that occurs
-- Columns: value, intent, tickets, share_of_value, unsure (of the tickets, those below the threshold: they count as OTHER)
WITH of_run AS (
    SELECT COLUMNS(lambda c: lower(c) = lower(getvariable('by_column')))::VARCHAR AS value, intent::VARCHAR AS intent, below_threshold
    FROM tickets
)
SELECT
    value,
    intent,
    count(*) AS tickets,
    count(*) / sum(count(*)) OVER (PARTITION BY value) AS share_of_value,
    count(*) FILTER (below_threshold) AS unsure
FROM of_run
GROUP BY value, intent
ORDER BY value, tickets DESC, intent;
