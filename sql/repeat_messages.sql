-- Messages that came in more than once, word for word, as templates, bots and impatient customers send them.
-- Parameters: run_id = one run, or NULL for all; min_tickets = how often at least, 2 when unset; max_rows = rows at most, 200
--   when unset
-- Grain: one row per message, the most frequent first; tickets without words are left out
-- Columns: message_hash, tickets, intent (of the most of them), language, first_row and last_row (row numbers in the source)
WITH often AS (
    SELECT hash(message_hash) AS short, count(*) AS tickets
    FROM tickets
    WHERE status <> 'empty'
    GROUP BY short
    HAVING tickets >= coalesce(getvariable('min_tickets')::BIGINT, 2)
    ORDER BY tickets DESC
    LIMIT coalesce(getvariable('max_rows')::BIGINT, 200)
)
SELECT
    message_hash,
    count(*) AS tickets,
    mode(intent::VARCHAR) AS intent,
    any_value(language) AS language,
    min(row_number) AS first_row,
    max(row_number) AS last_row
FROM tickets
WHERE hash(message_hash) IN (SELECT short FROM often) AND status <> 'empty'
GROUP BY message_hash
ORDER BY tickets DESC, message_hash;
