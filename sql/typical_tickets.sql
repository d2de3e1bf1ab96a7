-- Typical tickets of a group, of middling confidence and length among those of their intent, each message once.
-- Parameters: run_id = one run, or NULL for all; intent = as routed, NULL for any; by_column and value = a column and its value, NULL
--   for any; time_column, first_day and last_day = the column with the ticket's time and the days, NULL for any; max_rows = 3 when unset
-- Grain: one row per ticket, the most typical first
-- Columns: run_id, ticket_id, row_number, intent, top_intent, confidence, second_intent, second_confidence, language, and message
--   where it was kept
WITH chosen AS (
    SELECT
        *,
        TRY_CAST(COLUMNS(lambda c: lower(c) = lower(coalesce(getvariable('time_column')::VARCHAR, ' all'))) AS DATE) AS " day",
        COLUMNS(lambda c: lower(c) = lower(coalesce(getvariable('by_column')::VARCHAR, ' all')))::VARCHAR AS " value",
        median(confidence) OVER (PARTITION BY intent, below_threshold) AS " middle",
        median(ln(1 + n_tokens)) OVER (PARTITION BY intent, below_threshold) AS " length"
    FROM (SELECT '' AS " all", * FROM tickets)
)
SELECT COLUMNS(lambda c: c IN (
    'run_id', 'ticket_id', 'row_number', 'intent', 'top_intent', 'confidence', 'second_intent', 'second_confidence', 'language',
    'message'
))
FROM chosen
WHERE
    (getvariable('intent') IS NULL OR lower(intent::VARCHAR) = lower(getvariable('intent')::VARCHAR))
    AND (getvariable('value') IS NULL OR " value" = getvariable('value')::VARCHAR)
    AND (getvariable('first_day') IS NULL OR " day" >= getvariable('first_day')::DATE)
    AND (getvariable('last_day') IS NULL OR " day" <= getvariable('last_day')::DATE)
QUALIFY row_number() OVER (PARTITION BY message_hash ORDER BY run_id DESC, row_number) = 1
ORDER BY coalesce(abs(confidence - " middle"), 0) + coalesce(abs(ln(1 + n_tokens) - " length"), 0), run_id, row_number
LIMIT coalesce(getvariable('max_rows')::BIGINT, 3);
