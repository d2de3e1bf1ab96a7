-- Tickets by intent.
-- Parameters: run_id = one run, or NULL for all committed runs
-- Grain: one row per intent, the most frequent first
-- Columns: intent; tickets and share (by `intent`, so unsure and empty tickets count as OTHER); first_choice (tickets
--   whose likeliest intent it is, threshold aside); below_threshold (those of them that were too unsure);
--   mean_confidence of the first choices; as_second (tickets with two asks, `is_multi_intent`, whose second one it is).
WITH of_run AS (
    SELECT intent::VARCHAR AS intent, top_intent, confidence, below_threshold, second_intent, is_multi_intent, status
    FROM tickets
),
routed AS (
    SELECT intent, count(*) AS tickets FROM of_run GROUP BY intent
),
chosen AS (
    SELECT
        top_intent AS intent,
        count(*) AS first_choice,
        count(*) FILTER (below_threshold) AS below_threshold,
        avg(confidence) AS mean_confidence
    FROM of_run
    WHERE top_intent IS NOT NULL
    GROUP BY top_intent
),
seconds AS (
    SELECT second_intent AS intent, count(*) AS as_second
    FROM of_run
    WHERE is_multi_intent AND status = 'ok'
    GROUP BY second_intent
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
