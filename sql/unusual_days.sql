-- Days on which an intent came far more, or far less, often than is usual on that weekday.
-- Parameters: run_id = one run, or NULL for all; time_column = the column with the ticket's time; by_column = a column within
--   whose values to look, NULL for all tickets together; since = the first day to judge, NULL for all; min_z = z-score from
--   which a day is unusual, 3.5 when unset
-- Grain: one row per day, value and intent that is unusual, the newest day first
-- Columns: day, intent, tickets, usual (median of the same weekday in the 8 weeks before), z_score, weeks (how many such days
--   there were, at least 3), value (of by_column, null without one). The score is robust, the distance from usual over 1.4826 times the median distance of the days of
--   those 8 weeks from what is usual on their weekdays, and never over less than what chance alone does to a count (its square
--   root, at least 1). A day without any ticket is taken as missing, not as quiet; the newest day may be incomplete, so it can
--   have too many tickets, not too few.
WITH counted AS (
    SELECT
        COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::DATE AS day,
        COLUMNS(lambda c: lower(c) = lower(coalesce(getvariable('by_column')::VARCHAR, ' all')))::VARCHAR AS value,
        intent::VARCHAR AS intent
    FROM (SELECT '' AS " all", * FROM tickets)
),
daily AS (
    SELECT day, value, intent, count(*) AS tickets
    FROM counted
    WHERE value IS NOT NULL AND day >= coalesce(getvariable('since')::DATE - 56, DATE '0001-01-01')
    GROUP BY ALL
),
volumes AS (
    SELECT day, value, intent, coalesce(tickets, 0) AS tickets
    FROM
        (SELECT DISTINCT day FROM daily) CROSS JOIN (SELECT DISTINCT value, intent FROM daily)
        LEFT JOIN daily USING (day, value, intent)
),
past AS (
    SELECT judged.day, judged.value, judged.intent, isodow(before.day) AS weekday, before.tickets
    FROM
        (SELECT day, value, intent, unnest(range(1, 57))::INTEGER AS days FROM volumes) AS judged
        JOIN volumes AS before
            ON before.value = judged.value AND before.intent = judged.intent AND before.day = judged.day - judged.days
    WHERE judged.day >= coalesce(getvariable('since')::DATE, DATE '0001-01-01')
),
weekdays AS (
    SELECT day, value, intent, weekday, median(tickets) AS usual, count(*) AS weeks FROM past GROUP BY ALL
),
spreads AS (
    SELECT day, value, intent, 1.4826 * median(abs(tickets - usual)) AS spread
    FROM past JOIN weekdays USING (day, value, intent, weekday)
    GROUP BY ALL
)
SELECT
    day,
    intent,
    volumes.tickets,
    usual,
    (volumes.tickets - usual) / greatest(spread, sqrt(usual), 1) AS z_score,
    weeks,
    nullif(value, '') AS value
FROM volumes JOIN spreads USING (day, value, intent) JOIN weekdays USING (day, value, intent)
WHERE
    weekday = isodow(day)
    AND weeks >= 3
    AND abs(z_score) >= coalesce(getvariable('min_z')::DOUBLE, 3.5)
    AND (z_score > 0 OR day < (SELECT max(day) FROM volumes))
ORDER BY day DESC, abs(z_score) DESC, intent, value;
