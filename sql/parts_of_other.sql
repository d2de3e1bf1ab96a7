-- What the tickets are that count as OTHER.
-- Parameters: run_id = one run, or NULL for all
-- Grain: one row per part that has tickets, the largest first
-- Columns: part (sure: OTHER is the first choice and reached the threshold; unsure: no intent reached it; foreign: in a
--   language unknown to the model; empty: without words; error: could not be scored), tickets, share (of the tickets that count as
--   OTHER), nearest_intent (the most frequent first choice among them), nearest_tickets (that have it)
WITH parts AS (
    SELECT
        CASE
            WHEN status = 'unsupported_language' THEN 'foreign'
            WHEN status <> 'ok' THEN status::VARCHAR
            WHEN below_threshold THEN 'unsure'
            ELSE 'sure'
        END AS part,
        top_intent,
        count(*) AS tickets
    FROM tickets
    WHERE intent = 'OTHER' OR below_threshold OR status <> 'ok'
    GROUP BY ALL
)
SELECT
    part,
    sum(tickets)::BIGINT AS tickets,
    sum(tickets) / sum(sum(tickets)) OVER () AS share,
    arg_max(top_intent, tickets) FILTER (top_intent <> 'OTHER') AS nearest_intent,
    max(tickets) FILTER (top_intent <> 'OTHER') AS nearest_tickets
FROM parts
GROUP BY part
ORDER BY tickets DESC, part;
