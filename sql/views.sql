-- Views over all committed runs, for the DuckDB shell and for every other query in this folder.
-- Parameters: out = the folder given to `ecomintent-batch run --out`; run_id = one run, or NULL for all committed runs;
--   latest = true to let the queries count each ticket once, as its newest run has it
--   D SET VARIABLE out = 'ecomintent-out';
--   D .read sql/views.sql
-- Grain: predictions one row per ticket and run; latest_predictions one per ticket; tickets what the queries count: the
--   one or the other, by latest; rejects one per source row that could not be read; runs one per run
-- Columns: predictions and latest_predictions as in the README, with `run_id` from the folder's name; rejects run_id, file,
--   line, row_number, column, error; runs run_id, started_at, finished_at, source, model, engine, counts, settings, performance

-- The parts that manifests list as this file is read: a run committed while a query looks at OUT twice would be in one half of
-- it only. Read this file again to see later runs. One run's folder appears whole, so that alone it needs no list; on an
-- object store parts appear one by one, and the list is all there is.
SET VARIABLE listed_parts = (
    SELECT list(getvariable('out') || '/predictions/run_id=' || run_id || '/' || part.file ORDER BY run_id, part.file)
    FROM (
        SELECT run_id, unnest(parts) AS part
        FROM read_json(
            getvariable('out') || '/runs/' || coalesce(getvariable('run_id')::VARCHAR, '*') || '.json',
            columns = {'run_id': 'VARCHAR', 'parts': 'STRUCT(file VARCHAR)[]'}, maximum_object_size = 67108864
        )
        WHERE getvariable('run_id') IS NULL OR starts_with(getvariable('out'), 's3://')
    )
);

-- A run_id narrows the files that are read, so that a query of one run costs the same among thousands, and columns of
-- other runs, whose types may differ, are left out of it. Files of another OUT than the list's are what is there.
CREATE OR REPLACE VIEW predictions AS
SELECT *
FROM read_parquet(
    coalesce(
        nullif(
            list_filter(
                getvariable('listed_parts'),
                lambda part: starts_with(
                    part,
                    getvariable('out') || '/predictions/run_id=' || coalesce(getvariable('run_id')::VARCHAR || '/', '')
                )
            ),
            []
        ),
        [getvariable('out') || '/predictions/run_id=' || coalesce(getvariable('run_id')::VARCHAR, '*') || '/part-*.parquet']
    ),
    union_by_name = true, hive_partitioning = true, hive_types = {'run_id': VARCHAR}
);

-- The newest run that classified a ticket wins, and of its rows the last one; a row without an id stands for itself. Ids of
-- runs sort by time, so that the place of a run and the row make one number that grows: half of the time and memory of a window.
-- Nothing is MATERIALIZED: columns that a query does not ask for are then not read.
CREATE OR REPLACE VIEW latest_predictions AS
WITH sorted AS NOT MATERIALIZED (
    SELECT list(DISTINCT run_id ORDER BY run_id) AS runs FROM predictions
),
placed AS NOT MATERIALIZED (
    SELECT ticket_id, (list_position(sorted.runs, run_id)::BIGINT << 40) + row_number AS place
    FROM predictions CROSS JOIN sorted
),
newest AS (
    SELECT max(place) AS place FROM placed WHERE ticket_id IS NOT NULL GROUP BY ticket_id
    UNION ALL
    SELECT place FROM placed WHERE ticket_id IS NULL
)
SELECT predictions.*
FROM
    predictions CROSS JOIN sorted
    SEMI JOIN newest ON (list_position(sorted.runs, run_id)::BIGINT << 40) + row_number = newest.place;

-- The branch that is not asked for is gone before anything is read.
CREATE OR REPLACE VIEW tickets AS
SELECT * FROM predictions WHERE NOT coalesce(getvariable('latest')::BOOLEAN, false)
UNION ALL
SELECT * FROM latest_predictions WHERE coalesce(getvariable('latest')::BOOLEAN, false);

CREATE OR REPLACE VIEW rejects AS
SELECT regexp_extract(filename, 'run_id=([^/\\]*)\.parquet$', 1) AS run_id, * EXCLUDE (filename)
FROM read_parquet(
    getvariable('out') || '/rejects/run_id=' || coalesce(getvariable('run_id')::VARCHAR, '*') || '.parquet',
    union_by_name = true, filename = true
);

CREATE OR REPLACE VIEW runs AS
SELECT run_id, started_at, finished_at, source, model, engine, counts, settings, performance
FROM read_json(
    getvariable('out') || '/runs/' || coalesce(getvariable('run_id')::VARCHAR, '*') || '.json',
    format = 'unstructured', union_by_name = true, maximum_object_size = 67108864
);
