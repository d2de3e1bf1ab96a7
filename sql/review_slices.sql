-- Tickets of one run for people to label, in four slices that share none.
-- Parameters: of_run = the run (run_id has to be NULL, because other runs are looked at too); control, disagreeing, drifting,
--   uncertain = tickets of each slice at most, 100 when unset; unusual = list of 'day INTENT' that stand out; time_column = the
--   column with the ticket's time, needed by unusual; seed = of what is drawn at random
-- Grain: one row per ticket
-- Columns: reason (control: drawn at random from all labelled tickets; disagreeing: another model says otherwise of the same
--   message, looked for among 50,000 drawn at random; drifting: of an unusual day; uncertain: the least sure), ticket_id,
--   row_number, run_id, top_intent, confidence, second_intent, second_confidence
WITH sizes AS (
    SELECT
        coalesce(getvariable('control')::BIGINT, 100) AS control,
        coalesce(getvariable('disagreeing')::BIGINT, 100) AS disagreeing,
        coalesce(getvariable('drifting')::BIGINT, 100) AS drifting,
        coalesce(getvariable('uncertain')::BIGINT, 100) AS uncertain,
        control + disagreeing + drifting + uncertain AS all_four
),
-- Read again for each slice: every one of them keeps a few rows only, all of them together would not fit into memory.
own AS NOT MATERIALIZED (
    SELECT
        ticket_id, row_number, run_id, message_hash, model, top_intent, confidence, second_intent, second_confidence,
        intent::VARCHAR AS intent,
        COLUMNS(lambda c: lower(c) = lower(coalesce(getvariable('time_column')::VARCHAR, 'classified_at')))::DATE AS day,
        hash(row_number, coalesce(getvariable('seed')::VARCHAR, '0')) AS draw
    FROM predictions
    WHERE run_id = getvariable('of_run') AND status = 'ok'
),
drawn AS MATERIALIZED (
    SELECT ticket_id, message_hash, model, top_intent, row_number, draw FROM own ORDER BY draw LIMIT 50_000
),
control AS (
    SELECT 1 AS slice, row_number, draw AS place FROM drawn ORDER BY draw LIMIT (SELECT control FROM sizes)
),
disagreeing AS (
    SELECT 2 AS slice, row_number, draw AS place
    FROM drawn SEMI JOIN predictions AS other
        ON other.ticket_id = drawn.ticket_id AND other.message_hash = drawn.message_hash AND other.model <> drawn.model
        AND other.top_intent <> drawn.top_intent
    ORDER BY draw
    LIMIT (SELECT all_four FROM sizes)
),
drifting AS (
    SELECT 3 AS slice, row_number, draw AS place
    FROM own
    WHERE list_contains(getvariable('unusual')::VARCHAR[], day::VARCHAR || ' ' || intent)
    ORDER BY draw
    LIMIT (SELECT all_four FROM sizes)
),
uncertain AS (
    SELECT 4 AS slice, row_number, (confidence::DOUBLE * 1e9)::UBIGINT AS place
    FROM own
    ORDER BY confidence, row_number
    LIMIT (SELECT all_four FROM sizes)
),
candidates AS (
    FROM control UNION ALL FROM disagreeing UNION ALL FROM drifting UNION ALL FROM uncertain
),
-- Of each ticket its first slice; a slice is cut to its size only then, so that each can be full.
chosen AS (
    SELECT * FROM candidates QUALIFY row_number() OVER (PARTITION BY candidates.row_number ORDER BY slice) = 1
),
filled AS (
    SELECT chosen.*
    FROM chosen CROSS JOIN sizes
    QUALIFY
        row_number() OVER (PARTITION BY slice ORDER BY place, chosen.row_number)
        <= [control, disagreeing, drifting, uncertain][slice]
)
SELECT
    ['control', 'disagreeing', 'drifting', 'uncertain'][slice] AS reason,
    ticket_id,
    own.row_number,
    run_id,
    top_intent,
    confidence,
    second_intent,
    second_confidence
FROM own JOIN filled USING (row_number)
ORDER BY slice, place, own.row_number;
