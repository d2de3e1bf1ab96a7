-- Tickets by day, week or month and intent, with the change against the period before.
-- Parameters: run_id = one run, or NULL for all; time_column = the column with the ticket's time; period = day, week
--   (from Monday) or month, week when unset
-- Grain: one row per period and intent, zeros included; tickets without a time are left out. The first and the last period
--   may be incomplete.
-- Columns: period (its first day), intent, tickets, share (of the period), previous_tickets, change (0.5 = half as many
--   more; null where there were none), share_change (in shares: 0.02 = two points more)
WITH counted AS (
    SELECT
        date_trunc(
            coalesce(getvariable('period')::VARCHAR, 'week'),
            COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::TIMESTAMP
        )::DATE AS period,
        intent::VARCHAR AS intent,
        count(*) AS tickets
    FROM tickets
    GROUP BY ALL
),
spine AS (
    SELECT unnest(generate_series(
        min(period)::TIMESTAMP, max(period)::TIMESTAMP, ('1 ' || coalesce(getvariable('period')::VARCHAR, 'week'))::INTERVAL
    ))::DATE AS period
    FROM counted
),
volumes AS (
    SELECT period, intent, coalesce(tickets, 0) AS tickets
    FROM spine CROSS JOIN (SELECT DISTINCT intent FROM counted WHERE period IS NOT NULL) LEFT JOIN counted USING (period, intent)
),
shares AS (
    SELECT *, tickets / nullif(sum(tickets) OVER (PARTITION BY period), 0) AS share
    FROM volumes
)
SELECT
    period,
    intent,
    tickets,
    share,
    lag(tickets) OVER before AS previous_tickets,
    tickets / nullif(lag(tickets) OVER before, 0) - 1 AS change,
    share - lag(share) OVER before AS share_change
FROM shares
WINDOW before AS (PARTITION BY intent ORDER BY period)
ORDER BY period, tickets DESC, intent;
