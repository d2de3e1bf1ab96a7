-- Where two models agree on the same tickets, and where they do not.
-- Parameters: model_a, model_b = fingerprints as in the column `model`; when unset, the two that labelled last, model_a the
--   older one. run_id has to be NULL: two models are two runs.
-- Grain: one row per pair of likeliest intents, disagreements first, the most frequent first; compared are tickets with the
--   same id and the same message
--   A label that one of the two models has instead of another one (renamed, or a part of it) counts as that other one.
-- Columns: intent_a, intent_b, tickets, share, agreement (of all compared, the same in each row), kappa (Cohen's: agreement
--   beyond chance, the same in each row)
WITH labelled AS (
    SELECT model, max(classified_at) AS last FROM predictions GROUP BY model
),
newest AS (
    SELECT coalesce(getvariable('model_b')::VARCHAR, arg_max(model, last)) AS model_b FROM labelled
),
pair AS (
    SELECT
        any_value(model_b) AS model_b,
        coalesce(getvariable('model_a')::VARCHAR, arg_max(model, last) FILTER (model <> model_b)) AS model_a
    FROM labelled CROSS JOIN newest
),
renamed AS (
    SELECT any_value(model) AS model, label, any_value(was) AS was
    FROM (SELECT DISTINCT model, unnest(map_keys(was)) AS label, unnest(map_values(was)) AS was FROM taxonomies)
    WHERE model IN (SELECT unnest([model_a, model_b]) FROM pair)
    GROUP BY label
    HAVING count(*) = 1
),
labelled_alike AS (
    SELECT ticket_id, message_hash, predictions.model, coalesce(renamed.was, top_intent) AS top_intent
    FROM predictions LEFT JOIN renamed ON renamed.model = predictions.model AND label = top_intent
    WHERE top_intent IS NOT NULL
),
intents AS (
    SELECT list(DISTINCT top_intent ORDER BY top_intent) AS names FROM labelled_alike
),
-- One number for id and message, and one for the intent: groups of numbers need a third of the time and memory of texts.
compared AS (
    SELECT
        hash(ticket_id, message_hash) AS ticket,
        max(list_position((SELECT names FROM intents), top_intent)) FILTER (model = (SELECT model_a FROM pair)) AS a,
        max(list_position((SELECT names FROM intents), top_intent)) FILTER (model = (SELECT model_b FROM pair)) AS b
    FROM labelled_alike
    GROUP BY ticket
),
counted AS (
    SELECT names[a] AS intent_a, names[b] AS intent_b, tickets
    FROM (SELECT a, b, count(*) AS tickets FROM compared WHERE a IS NOT NULL AND b IS NOT NULL GROUP BY ALL) CROSS JOIN intents
),
shares AS (
    SELECT
        *,
        tickets / sum(tickets) OVER () AS share,
        sum(tickets) OVER (PARTITION BY intent_a) / sum(tickets) OVER () AS share_a
    FROM counted
),
by_b AS (
    SELECT intent_b AS intent, sum(share) AS share_b FROM shares GROUP BY intent_b
),
chance AS (
    SELECT coalesce(sum(share_a * share_b), 0) AS by_chance
    FROM (SELECT DISTINCT intent_a AS intent, share_a FROM shares) JOIN by_b USING (intent)
)
SELECT
    intent_a,
    intent_b,
    tickets,
    share,
    coalesce(sum(share) FILTER (intent_a = intent_b) OVER (), 0) AS agreement,
    CASE WHEN by_chance < 1 THEN (agreement - by_chance) / (1 - by_chance) END AS kappa
FROM shares CROSS JOIN chance
ORDER BY intent_a = intent_b, tickets DESC, intent_a, intent_b;
