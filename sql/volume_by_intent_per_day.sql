-- Tickets by day and intent.
-- Parameters: run_id = one run, or NULL for all; time_column = the column with the ticket's time
-- Grain: one row per day and intent that occurs; day is null where the ticket has no time. Times with a
--   zone count by the day of the session's TimeZone; the job sets UTC.
-- Columns: day, intent, tickets, share_of_day
WITH of_run AS (
    SELECT COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::DATE AS day, intent::VARCHAR AS intent
    FROM tickets
)
SELECT day, intent, count(*) AS tickets, count(*) / sum(count(*)) OVER (PARTITION BY day) AS share_of_day
FROM of_run
GROUP BY day, intent
ORDER BY day, tickets DESC, intent;
