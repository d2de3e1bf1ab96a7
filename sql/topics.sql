-- What messages that are OTHER or unsure are about, in groups, as `run --topics` or `topics` found them.
-- Parameters: run_id = one run, or NULL for the newest that has topics
-- Grain: one row per topic, the largest first
-- Columns: topic (its number), tickets, share (of the tickets that were grouped), messages (different ones), newest_tickets (of the
--   newest 28 days), usual_tickets (of the 56 days before, for as many tickets; both null without so many days), score (the distance
--   over what chance alone does), bound (of the score), phrases (that tell it apart, from five tickets or more), nearest_intents (first
--   choices with their share), ticket_1, ticket_2, ticket_3 (typical ones), run_id
SELECT * EXCLUDE (run_id), run_id
FROM topics
WHERE run_id = coalesce(getvariable('run_id')::VARCHAR, (SELECT max(run_id) FROM topics))
ORDER BY topic;
