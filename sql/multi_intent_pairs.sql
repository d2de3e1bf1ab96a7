-- Which two things customers ask for in one message.
-- Parameters: run_id = one run, or NULL for all
-- Grain: one row per pair of first and second intent among the tickets with two asks (`is_multi_intent`)
-- Columns: first_intent, second_intent, tickets, share (of the tickets with two asks)
SELECT
    top_intent AS first_intent,
    second_intent,
    count(*) AS tickets,
    count(*) / sum(count(*)) OVER () AS share
FROM tickets
WHERE is_multi_intent AND status = 'ok'
GROUP BY ALL
ORDER BY tickets DESC, first_intent, second_intent;
