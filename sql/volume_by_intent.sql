-- Tickets by intent.
-- Parameters: run_id = one run, or NULL for all committed runs
-- Grain: one row per intent, the most frequent first
-- Columns: intent; tickets and share (by `intent`, so unsure and empty tickets count as OTHER); first_choice (tickets
--   whose likeliest intent it is, threshold aside); below_threshold (those of them that were too unsure);
--   mean_confidence of the first choices; as_second (tickets with two asks, `is_multi_intent`, whose second one it is).
WITH
-- One pass over the tickets; what follows works on the few groups that it leaves.
grouped AS (
    SELECT
        intent::VARCHAR AS intent,
        top_intent,
        CASE WHEN is_multi_intent AND status = 'ok' THEN second_intent END AS second_ask,
        count(*) AS tickets,
        count(*) FILTER (below_threshold) AS below_threshold,
        sum(confidence) AS confidence
    FROM tickets
    GROUP BY ALL
),
routed AS (
    SELECT intent, sum(tickets)::BIGINT AS tickets FROM grouped GROUP BY intent
),
chosen AS (
    SELECT
        top_intent AS intent,
        sum(tickets)::BIGINT AS first_choice,
        sum(below_threshold)::BIGINT AS below_threshold,
        sum(confidence) / sum(tickets) AS mean_confidence
    FROM grouped
    WHERE top_intent IS NOT NULL
    GROUP BY top_intent
),
seconds AS (
    SELECT second_ask AS intent, sum(tickets)::BIGINT AS as_second FROM grouped WHERE second_ask IS NOT NULL GROUP BY second_ask
)
SELECT
    intent,
    coalesce(tickets, 0) AS tickets,
    coalesce(tickets / sum(tickets) OVER (), 0) AS share,
    coalesce(first_choice, 0) AS first_choice,
    coalesce(below_threshold, 0) AS below_threshold,
    mean_confidence,
    coalesce(as_second, 0) AS as_second
FROM routed FULL JOIN chosen USING (intent) FULL JOIN seconds USING (intent)
ORDER BY tickets DESC, intent;
