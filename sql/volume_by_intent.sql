-- Tickets by intent.
-- Parameters: run_id = one run, or NULL for all committed runs
-- Grain: one row per intent, the most frequent first
-- Columns: intent; tickets and share (by `intent`, so unsure and empty tickets count as OTHER); first_choice (tickets
--   whose likeliest intent it is, threshold aside); below_threshold (those of them that were too unsure);
--   mean_confidence of the first choices.
WITH of_run AS (
    SELECT intent::VARCHAR AS intent, top_intent, confidence, below_threshold
    FROM predictions
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
)
SELECT
    intent,
    coalesce(tickets, 0) AS tickets,
    coalesce(tickets / sum(tickets) OVER (), 0) AS share,
    coalesce(first_choice, 0) AS first_choice,
    coalesce(below_threshold, 0) AS below_threshold,
    mean_confidence
FROM routed FULL JOIN chosen USING (intent)
ORDER BY tickets DESC, intent;
