-- How far the mix of intents has moved between two periods, as the population stability index (PSI).
-- Parameters: run_id = one run, or NULL for all; time_column = the column with the ticket's time; baseline_from, baseline_to,
--   recent_from, recent_to = first and last days; when unset, recent is the newest 28 days and baseline the 28 before
-- Grain: one row per intent, the one that moved most first
-- Columns: intent, baseline_tickets, recent_tickets, baseline_share, recent_share, psi (of the intent), psi_total (their sum,
--   the same in each row), verdict on it: stable (under 0.1), moderate (under 0.25) or shifted. The PSI takes the shares of
--   tickets + 0.5, so that an intent of no ticket gives no infinity.
WITH daily AS (
    SELECT
        COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::DATE AS day, intent::VARCHAR AS intent, count(*) AS tickets
    FROM tickets
    GROUP BY ALL
),
recent AS (
    SELECT
        coalesce(getvariable('recent_to')::DATE, max(day)) AS last_day,
        coalesce(getvariable('recent_from')::DATE, last_day - 27) AS first_day
    FROM daily
),
bounds AS (
    SELECT
        *,
        coalesce(getvariable('baseline_to')::DATE, first_day - 1) AS baseline_last,
        coalesce(getvariable('baseline_from')::DATE, baseline_last - 27) AS baseline_first
    FROM recent
),
counted AS (
    SELECT
        intent,
        coalesce(sum(tickets) FILTER (day BETWEEN baseline_first AND baseline_last), 0)::BIGINT AS baseline_tickets,
        coalesce(sum(tickets) FILTER (day BETWEEN first_day AND last_day), 0)::BIGINT AS recent_tickets
    FROM daily CROSS JOIN bounds
    GROUP BY intent
    HAVING baseline_tickets + recent_tickets > 0
),
smoothed AS (
    SELECT
        *,
        (baseline_tickets + 0.5) / sum(baseline_tickets + 0.5) OVER () AS p,
        (recent_tickets + 0.5) / sum(recent_tickets + 0.5) OVER () AS q
    FROM counted
),
measured AS (
    SELECT *, (q - p) * ln(q / p) AS psi FROM smoothed
)
SELECT
    intent,
    baseline_tickets,
    recent_tickets,
    baseline_tickets / nullif(sum(baseline_tickets) OVER (), 0) AS baseline_share,
    recent_tickets / nullif(sum(recent_tickets) OVER (), 0) AS recent_share,
    psi,
    sum(psi) OVER () AS psi_total,
    CASE WHEN psi_total < 0.1 THEN 'stable' WHEN psi_total < 0.25 THEN 'moderate' ELSE 'shifted' END AS verdict
FROM measured
ORDER BY psi DESC, intent;
