-- Words and pairs of words that came up in the newest weeks, in messages that were kept with --keep-text.
-- Parameters: run_id = one run, or NULL for all; time_column = the column with the ticket's time; days = how many newest days are
--   compared with twice as many before them, 28 when unset; words = list of the words that may be shown, NULL for any
-- Grain: one row per phrase that rose by more than chance, the clearest first
-- Columns: phrase (of letters only, in five tickets or more), tickets (of the newest days), usual (tickets of the days before, for
--   as many tickets), intent (the most frequent one among them), score (the distance over what chance alone does), bound. At most 200,000
--   tickets are read, drawn by their row. Phrases that begin or end with a word of three letters or fewer are not counted.
WITH dated AS (
    SELECT
        COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::DATE AS day,
        intent::VARCHAR AS intent,
        message,
        hash(row_number) AS draw
    FROM tickets
    WHERE message IS NOT NULL
),
bounds AS (
    SELECT max(day) AS last_day, coalesce(getvariable('days')::INTEGER, 28) AS days FROM dated
),
chosen AS (
    SELECT intent, day > last_day - days AS is_new, regexp_extract_all(
        regexp_replace(lower(message), '\S*(@|//|www\.|\d)\S*', ' ', 'g'), '[a-z'']+'
    ) AS words
    FROM dated CROSS JOIN bounds
    WHERE day > last_day - 3 * days
    ORDER BY draw
    LIMIT 200_000
),
phrases AS (
    SELECT intent, is_new, unnest(list_distinct(
        words || list_transform(list_zip(words[:-2], words[2:]), lambda pair: pair[1] || ' ' || pair[2])
    )) AS phrase
    FROM chosen
),
counted AS (
    SELECT
        phrase, count(*) FILTER (is_new) AS tickets, count(*) FILTER (NOT is_new) AS before,
        mode(intent) FILTER (is_new) AS intent
    FROM phrases
    WHERE length(split_part(phrase, ' ', 1)) > 3 AND length(split_part(phrase, ' ', -1)) > 3
    GROUP BY phrase
    HAVING tickets >= 5
),
shown AS (
    SELECT unnest(getvariable('words')::VARCHAR[]) AS word
),
scored AS (
    SELECT
        phrase, tickets, before * ratio AS usual, intent,
        2 * (sqrt(tickets + 0.375) - sqrt(usual + 0.375)) / sqrt(1 + ratio) AS score,
        sqrt(2 * ln(count(*) OVER () / 0.05)) AS bound
    FROM
        counted
        CROSS JOIN (SELECT count(*) FILTER (is_new) / nullif(count(*) FILTER (NOT is_new), 0) AS ratio FROM chosen)
    WHERE
        getvariable('words') IS NULL
        OR (split_part(phrase, ' ', 1) IN (FROM shown) AND split_part(phrase, ' ', -1) IN (FROM shown))
)
SELECT phrase, tickets, usual, intent, score, bound
FROM scored
WHERE score >= bound
ORDER BY score DESC, length(phrase), phrase
LIMIT 100;
