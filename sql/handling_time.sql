-- The hours and the money that tickets take, by intent, which is what a contact that is avoided would save.
-- Parameters: run_id = one run, or NULL for all; minutes_per_ticket and cost_per_ticket = of a person who answers one, those of the
--   newest run's settings when unset, NULL where it has none
-- Grain: one row per intent, the most frequent first
-- Columns: intent, tickets, share (of all tickets), hours (null without minutes), cost (null without a cost, in its currency)
SELECT
    intent::VARCHAR AS intent,
    count(*) AS tickets,
    count(*) / sum(count(*)) OVER () AS share,
    count(*) * getvariable('minutes_per_ticket')::DOUBLE / 60 AS hours,
    count(*) * getvariable('cost_per_ticket')::DOUBLE AS cost
FROM tickets
GROUP BY intent
ORDER BY tickets DESC, intent;
