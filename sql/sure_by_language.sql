-- How many tickets are labelled with confidence, by language and by intent.
-- Parameters: run_id = one run, or NULL for all
-- Grain: one row per language and likeliest intent, and one per language for all its tickets; the most frequent language first.
--   Tickets too short to tell have the language null, those without words are left out
-- Columns: language, intent (the likeliest, threshold aside; null for all), tickets, sure (first choice at the threshold or more, in a
--   language that the model knows), share_sure
WITH counted AS (
    SELECT
        language, top_intent AS intent, GROUPING(top_intent) AS is_all,
        count(*) AS tickets,
        count(*) FILTER (status = 'ok' AND NOT below_threshold) AS sure
    FROM tickets
    WHERE status <> 'empty'
    GROUP BY GROUPING SETS ((language, top_intent), (language))
)
SELECT language, intent, tickets, sure, sure / tickets AS share_sure
FROM counted
WHERE is_all = 1 OR intent IS NOT NULL
ORDER BY max(tickets) OVER (PARTITION BY language) DESC, language, is_all DESC, tickets DESC, intent;
