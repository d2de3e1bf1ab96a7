-- How sure the model is, by intent, in twenty bins of confidence.
-- Parameters: run_id = one run, or NULL for all
-- Grain: one row per likeliest intent and bin that occurs; tickets that were not labelled (status) are left out
-- Columns: intent (the likeliest, threshold aside), confidence_from, confidence_to, tickets, share (of the intent)
WITH counted AS (
    SELECT top_intent AS intent, least(floor(confidence * 20), 19)::INTEGER AS bin, count(*) AS tickets
    FROM tickets
    WHERE status = 'ok'
    GROUP BY ALL
)
SELECT
    intent,
    bin / 20 AS confidence_from,
    (bin + 1) / 20 AS confidence_to,
    tickets,
    tickets / sum(tickets) OVER (PARTITION BY intent) AS share
FROM counted
ORDER BY intent, bin;
