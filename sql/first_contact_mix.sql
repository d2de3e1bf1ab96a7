-- What customers write about when they write for the first time, next to what they write about later.
-- Parameters: run_id = one run, or NULL for all; customer_column = the kept column that names the customer; time_column = the
--   column with the ticket's time
-- Grain: one row per intent, the most frequent first contact first; tickets without customer or time are left out
-- Columns: intent; first_contacts and share_of_first (each customer's earliest ticket); later_contacts and share_of_later
--   (all others); tickets (both)
WITH contacts AS (
    SELECT
        COLUMNS(lambda c: lower(c) = lower(getvariable('customer_column')))::VARCHAR AS customer,
        COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::TIMESTAMP AS time,
        intent::VARCHAR AS intent,
        row_number
    FROM tickets
),
firsts AS (
    SELECT arg_min(intent, (time, row_number)) AS intent
    FROM contacts
    WHERE customer IS NOT NULL AND time IS NOT NULL
    GROUP BY customer
),
first_counts AS (
    SELECT intent, count(*) AS first_contacts FROM firsts GROUP BY intent
),
all_counts AS (
    SELECT intent, count(*) AS tickets FROM contacts WHERE customer IS NOT NULL AND time IS NOT NULL GROUP BY intent
)
SELECT
    intent,
    coalesce(first_contacts, 0) AS first_contacts,
    coalesce(first_contacts, 0) / sum(first_contacts) OVER () AS share_of_first,
    tickets - coalesce(first_contacts, 0) AS later_contacts,
    (tickets - coalesce(first_contacts, 0)) / nullif(sum(tickets) OVER () - sum(first_contacts) OVER (), 0) AS share_of_later,
    tickets
FROM all_counts LEFT JOIN first_counts USING (intent)
ORDER BY first_contacts DESC, intent;
