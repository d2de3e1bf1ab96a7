-- Messages that came in more than once, word for word, as templates, bots and impatient customers send them.
-- Parameters: run_id = one run, or NULL for all; min_tickets = how often at least, 2 when unset; max_rows = rows at most, 200
--   when unset
-- Grain: one row per message, the most frequent first; tickets without words are left out
-- Columns: message_hash, tickets, intent (of the most of them), language, first_row and last_row (row numbers in the source)
WITH
-- What is counted is kept as numbers, so that the tickets are read once; the hash itself is looked up for the few that are shown.
said AS MATERIALIZED (
    SELECT hash(message_hash) AS short, intent::VARCHAR AS intent, row_number FROM tickets WHERE status <> 'empty'
),
often AS (
    SELECT short, count(*) AS tickets
    FROM said
    GROUP BY short
    HAVING tickets >= coalesce(getvariable('min_tickets')::BIGINT, 2)
    ORDER BY tickets DESC
    LIMIT coalesce(getvariable('max_rows')::BIGINT, 200)
),
messages AS (
    SELECT hash(message_hash) AS short, any_value(message_hash) AS message_hash, any_value(language) AS language
    FROM predictions
    WHERE hash(message_hash) IN (SELECT short FROM often)
    GROUP BY hash(message_hash)
)
SELECT
    any_value(message_hash) AS message_hash,
    count(*) AS tickets,
    mode(intent) AS intent,
    any_value(language) AS language,
    min(row_number) AS first_row,
    max(row_number) AS last_row
FROM said JOIN messages USING (short)
GROUP BY short
ORDER BY tickets DESC, message_hash;
