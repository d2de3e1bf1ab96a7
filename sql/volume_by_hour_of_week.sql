-- Tickets by weekday and hour, the heat table that tells when customers write.
-- Parameters: run_id = one run, or NULL for all; time_column = the column with the ticket's time; intent = one intent, or
--   NULL for all
-- Grain: one row per weekday and hour of the week, zeros included (168 rows); tickets without a time are left out. Times with
--   a zone count by the session's TimeZone; the job sets UTC.
-- Columns: weekday (1 = Monday), weekday_name, hour, tickets, share (of the week)
WITH times AS (
    SELECT COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::TIMESTAMP AS time
    FROM tickets
    WHERE getvariable('intent') IS NULL OR intent = getvariable('intent')::VARCHAR
),
counted AS (
    SELECT isodow(time) AS weekday, hour(time) AS hour, count(*) AS tickets
    FROM times
    WHERE time IS NOT NULL
    GROUP BY ALL
)
SELECT
    weekday,
    ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'][weekday] AS weekday_name,
    hour,
    coalesce(tickets, 0) AS tickets,
    coalesce(tickets / sum(tickets) OVER (), 0) AS share
FROM range(1, 8) AS weekdays(weekday) CROSS JOIN range(24) AS hours(hour) LEFT JOIN counted USING (weekday, hour)
ORDER BY weekday, hour;
