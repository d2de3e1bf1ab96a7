-- Tickets of one run for people to label, in four slices that share none.
-- Parameters: of_run = the run (run_id has to be NULL, because other runs are looked at too); control, disagreeing, drifting,
--   uncertain = tickets of each slice at most, 100 when unset; unusual = list of 'day INTENT' that stand out; time_column = the
--   column with the ticket's time, needed by unusual; seed = of what is drawn at random
-- Grain: one row per ticket
-- Columns: reason (control: drawn at random from all labelled tickets; disagreeing: another model says otherwise of the same
--   message; drifting: of an unusual day; uncertain: the least sure), ticket_id, row_number, run_id, top_intent, confidence,
--   second_intent, second_confidence
WITH own AS (
    SELECT
        ticket_id, row_number, run_id, message_hash, model, top_intent, confidence, second_intent, second_confidence,
        intent::VARCHAR AS intent,
        COLUMNS(c -> lower(c) = lower(coalesce(getvariable('time_column'), 'classified_at')))::DATE AS day,
        hash(row_number, coalesce(getvariable('seed')::VARCHAR, '0')) AS draw
    FROM predictions
    WHERE run_id = getvariable('of_run') AND status = 'ok'
),
control AS (
    SELECT row_number FROM own ORDER BY draw LIMIT coalesce(getvariable('control')::BIGINT, 100)
),
candidates AS (
    SELECT 1 AS slice, 'control' AS reason, coalesce(getvariable('control')::BIGINT, 100) AS most, row_number, draw AS place
    FROM own SEMI JOIN control USING (row_number)
    UNION ALL
    SELECT 2, 'disagreeing', coalesce(getvariable('disagreeing')::BIGINT, 100), own.row_number, own.draw
    FROM own SEMI JOIN predictions AS other
        ON other.ticket_id = own.ticket_id AND other.message_hash = own.message_hash AND other.model <> own.model
        AND other.top_intent <> own.top_intent
    UNION ALL
    SELECT 3, 'drifting', coalesce(getvariable('drifting')::BIGINT, 100), row_number, draw
    FROM own
    WHERE list_contains(getvariable('unusual')::VARCHAR[], day::VARCHAR || ' ' || intent)
    UNION ALL
    SELECT 4, 'uncertain', coalesce(getvariable('uncertain')::BIGINT, 100), row_number, (confidence::DOUBLE * 1e9)::UBIGINT
    FROM own
),
-- Of each ticket its first slice; what is over the number of a slice is left out only then, so that each can be full.
chosen AS (
    SELECT * FROM candidates QUALIFY row_number() OVER (PARTITION BY candidates.row_number ORDER BY slice) = 1
),
filled AS (
    SELECT * FROM chosen QUALIFY row_number() OVER (PARTITION BY slice ORDER BY place, chosen.row_number) <= most
)
SELECT reason, ticket_id, own.row_number, run_id, top_intent, confidence, second_intent, second_confidence
FROM filled JOIN own USING (row_number)
ORDER BY slice, place, own.row_number;
