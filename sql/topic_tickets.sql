-- The tickets of a topic.
-- Parameters: run_id = the run whose topics are meant, or NULL for the newest that has topics; topic = its number, NULL for all
-- Grain: one row per ticket in a topic, the nearest to its middle first
-- Columns: topic, distance (cosine, from the middle of the topic), ticket_id, row_number, run_id (of the ticket), of_run (the run
--   whose topics they are)
SELECT topic, distance, ticket_id, row_number, run_id, of_run
FROM topic_tickets
WHERE
    of_run = coalesce(getvariable('run_id')::VARCHAR, (SELECT max(of_run) FROM topic_tickets))
    AND (getvariable('topic') IS NULL OR topic = getvariable('topic')::INTEGER)
ORDER BY topic, distance, run_id, row_number;
