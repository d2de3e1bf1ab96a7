-- The tickets most worth a human look, the least sure first, then those where first and second intent are close.
-- Parameters: run_id = one run, or NULL for all; margin = first minus second probability that still counts as close, 0.10
--   when unset; max_rows = rows at most, 200 when unset
-- Grain: one row per ticket and run
-- Columns: reason (unsure: under the run's threshold; close), ticket_id, row_number, top_intent, confidence, second_intent,
--   second_confidence, margin, language, run_id
SELECT
    CASE WHEN below_threshold THEN 'unsure' ELSE 'close' END AS reason,
    ticket_id,
    row_number,
    top_intent,
    confidence,
    second_intent,
    second_confidence,
    confidence - second_confidence AS margin,
    language,
    run_id
FROM tickets
WHERE
    status = 'ok'
    AND (below_threshold OR confidence - second_confidence < coalesce(getvariable('margin')::FLOAT, 0.10::FLOAT))
ORDER BY below_threshold DESC, confidence, run_id, row_number
LIMIT coalesce(getvariable('max_rows')::BIGINT, 200);
