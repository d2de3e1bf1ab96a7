-- Tickets by day, week or month and intent, with the change against the period before.
-- Parameters: run_id = one run, or NULL for all; time_column = the column with the ticket's time; period = day, week
--   (from Monday) or month, week when unset; by_column = a column whose values are counted apart, NULL for all tickets together
-- Grain: one row per period, value and intent, zeros included; tickets without a time are left out, and with by_column those
--   without a value. The first and the last period may be incomplete.
-- Columns: period (its first day), intent, tickets, share (of the period), previous_tickets, change (0.5 = half as many
--   more; null where there were none), share_change (in shares: 0.02 = two points more), value
--   (of by_column, null without one), unsure_share (of the tickets of all intents in the period, within the value)
WITH counted AS (
    SELECT
        date_trunc(
            coalesce(getvariable('period')::VARCHAR, 'week'),
            COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::TIMESTAMP
        )::DATE AS period,
        COLUMNS(lambda c: lower(c) = lower(coalesce(getvariable('by_column')::VARCHAR, ' all')))::VARCHAR AS value,
        intent::VARCHAR AS intent,
        count(*) AS tickets,
        count(*) FILTER (below_threshold) AS unsure
    FROM (SELECT '' AS " all", * FROM tickets)
    GROUP BY ALL
),
-- Zeros are filled in for a year after each period that has tickets, no further: one date of the year 1 is no two thousand rows.
dated AS (
    SELECT period, lead(period) OVER (ORDER BY period) AS next_period
    FROM (SELECT DISTINCT period FROM counted WHERE period IS NOT NULL)
),
spine AS (
    SELECT unnest(generate_series(
        period::TIMESTAMP,
        least(coalesce(next_period, period + 1)::TIMESTAMP - INTERVAL 1 DAY, period::TIMESTAMP + INTERVAL 366 DAYS),
        ('1 ' || coalesce(getvariable('period')::VARCHAR, 'week'))::INTERVAL
    ))::DATE AS period
    FROM dated
),
volumes AS (
    SELECT period, value, intent, coalesce(tickets, 0) AS tickets, coalesce(unsure, 0) AS unsure
    FROM
        spine CROSS JOIN (SELECT DISTINCT value, intent FROM counted WHERE period IS NOT NULL AND value IS NOT NULL)
        LEFT JOIN counted USING (period, value, intent)
),
shares AS (
    SELECT
        *,
        tickets / nullif(sum(tickets) OVER whole, 0) AS share,
        sum(unsure) OVER whole / nullif(sum(tickets) OVER whole, 0) AS unsure_share
    FROM volumes
    WINDOW whole AS (PARTITION BY period, value)
)
SELECT
    period,
    intent,
    tickets,
    share,
    lag(tickets) OVER before AS previous_tickets,
    tickets / nullif(lag(tickets) OVER before, 0) - 1 AS change,
    share - lag(share) OVER before AS share_change,
    nullif(value, '') AS value,
    unsure_share
FROM shares
WINDOW before AS (PARTITION BY shares.value, intent ORDER BY period)
ORDER BY period, shares.value, tickets DESC, intent;
