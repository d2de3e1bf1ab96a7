-- Which taxonomy each label is of, runs of several models side by side, and what the label was among the nine intents.
-- Parameters: run_id = one run, or NULL for all
-- Grain: one row per taxonomy and intent, the most frequent first
-- Columns: taxonomy (name of the labels file, else nine_intents or the model), intent, was (the intent that it renames, or was a
--   part of; else itself), tickets, share (of the tickets of the taxonomy), first_run, last_run
SELECT
    coalesce(taxonomies.taxonomy, regexp_extract(predictions.model, '^[^@]*')) AS taxonomy,
    intent::VARCHAR AS intent,
    coalesce(any_value(taxonomies.was[intent::VARCHAR]), intent::VARCHAR) AS was,
    count(*) AS tickets,
    count(*) / sum(count(*)) OVER (PARTITION BY coalesce(taxonomies.taxonomy, regexp_extract(predictions.model, '^[^@]*'))) AS share,
    min(predictions.run_id) AS first_run,
    max(predictions.run_id) AS last_run
FROM predictions LEFT JOIN taxonomies USING (run_id)
GROUP BY 1, 2
ORDER BY tickets DESC, taxonomy, intent;
