-- Tickets in languages that the model was not trained on; they count as OTHER.
-- Parameters: run_id = one run, or NULL for all
-- Grain: one row per language, the most frequent first
-- Columns: language (ISO 639-1), tickets, share (of all tickets)
WITH counted AS (
    SELECT language, count(*) AS in_all, count(*) FILTER (status = 'unsupported_language') AS tickets
    FROM tickets
    GROUP BY language
)
SELECT language, tickets, tickets / sum(in_all) OVER () AS share
FROM counted
QUALIFY tickets > 0
ORDER BY tickets DESC, language;
