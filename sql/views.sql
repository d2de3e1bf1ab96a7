-- Views over all committed runs, for the DuckDB shell and for every other query in this folder.
-- Parameters: out = the folder given to `ecomintent-batch run --out`; run_id = one run, or NULL for all committed runs;
--   latest = true to let the queries count each ticket once, as its newest run has it
--   D SET VARIABLE out = 'ecomintent-out';
--   D .read sql/views.sql
--   The command line sets reject_files, label_files, topics_files, topic_tickets_files and manifest_files instead of out: lists
--   of the files to read; the view predictions is its own, over the same files.
-- Grain: predictions one row per ticket and run; latest_predictions one per ticket; tickets what the queries count: the
--   one or the other, by latest; rejects one per source row that could not be read; runs one per run; reviewed one per
--   ticket and message that a person labelled; topics one per run and topic; topic_tickets one per ticket in a topic; taxonomies
--   one per run of a model of somebody's own labels
-- Columns: predictions and latest_predictions as in the README, with `run_id` from the folder's name, latest_predictions
--   (and tickets) also with `reviewed_intent`: the label that a person gave to this message, else null; rejects run_id, file,
--   line, row_number, column, error; runs run_id, started_at, finished_at, source, model, engine, counts, settings,
--   performance; reviewed ticket_id, run_id, row_number, message_hash, reviewed_intent; topics and topic_tickets as the
--   queries of these names, topic_tickets with of_run, the run whose topics they are; taxonomies run_id, model, taxonomy (name of the
--   labels file), extends, was (label → the intent that it renames or was a part of)

-- The runs whose manifests are there as this file is read: a run committed while a query reads OUT twice would be in one half
-- of it only. Read this file again to see later runs. The folder of one run appears whole, so that alone it needs no list. On
-- an object store parts appear one by one, and only those that a manifest lists are committed.
SET VARIABLE listed_runs = (
    SELECT list({'run_id': run_id, 'files': list_transform(parts, lambda part: part.file)} ORDER BY run_id)
    FROM read_json(
        getvariable('out') || '/runs/' || coalesce(getvariable('run_id')::VARCHAR, '*') || '.json',
        columns = {'run_id': 'VARCHAR', 'parts': 'STRUCT(file VARCHAR)[]'}, maximum_object_size = 67108864
    )
    WHERE getvariable('run_id') IS NULL OR starts_with(getvariable('out'), 's3://')
);
SET VARIABLE listed_for = {'out': getvariable('out'), 'run_id': getvariable('run_id')::VARCHAR};

-- The file in which `ecomintent-batch compact` has merged the parts of each run. A record counts once its files are there, and a
-- file until a record replaces it.
SET VARIABLE compactions = (SELECT list(file) FROM glob(getvariable('out') || '/compactions/*.json'));
SET VARIABLE merged_of = (
    WITH records AS (
        FROM query(
            CASE
                WHEN len(getvariable('compactions')::VARCHAR[]) > 0 THEN
                    'FROM read_json(
                         getvariable(''compactions'')::VARCHAR[],
                         columns = {
                             ''files'': ''STRUCT(file VARCHAR, runs MAP(VARCHAR, BIGINT))[]'', ''replaces'': ''VARCHAR[]''
                         },
                         maximum_object_size = 67108864
                     )'
                ELSE
                    'SELECT NULL::STRUCT(file VARCHAR, runs MAP(VARCHAR, BIGINT))[] AS files, NULL::VARCHAR[] AS replaces
                     WHERE false'
            END
        )
    ),
    there AS (
        SELECT list(regexp_extract(file, 'predictions/run_id=merged-[^/]*/[^/]*$')) AS keys
        FROM glob(getvariable('out') || '/predictions/run_id=merged-*/*.parquet')
    ),
    valid AS (
        SELECT records.*
        FROM records CROSS JOIN there
        WHERE len(files) = 0 OR list_has_any(list_transform(files, lambda one: one.file), keys)
    ),
    in_force AS (
        SELECT getvariable('out') || '/' || one.file AS file, unnest(map_keys(one.runs)) AS run_id
        FROM (SELECT unnest(files) AS one FROM valid) CROSS JOIN there
        WHERE list_contains(keys, one.file) AND one.file NOT IN (SELECT unnest(replaces) FROM valid)
    )
    SELECT coalesce(map(list(run_id), list(file)), MAP {}::MAP(VARCHAR, VARCHAR)) FROM in_force
);
SET VARIABLE parts_of = (
    WITH listed AS (
        SELECT
            run.run_id,
            list_transform(
                run.files, lambda file: getvariable('out') || '/predictions/run_id=' || run.run_id || '/' || file
            ) AS files
        FROM (SELECT unnest(getvariable('listed_runs')) AS run)
        WHERE run.run_id NOT IN (SELECT unnest(map_keys(getvariable('merged_of'))))
    )
    SELECT coalesce(map(list(run_id ORDER BY run_id), list(files ORDER BY run_id)), MAP {}::MAP(VARCHAR, VARCHAR[])) FROM listed
);
SET VARIABLE listed_rejects = list_transform(
    getvariable('listed_runs'), lambda run: getvariable('out') || '/rejects/run_id=' || run.run_id || '.parquet'
);

-- A run_id narrows the files that are read, so that a query of one run costs the same among thousands, and columns of
-- other runs, whose types may differ, are not read. If `out` was changed since the lists were made, a folder is read as it is,
-- and a store not at all.
CREATE OR REPLACE MACRO are_lists_good() AS (
    getvariable('listed_for').out = getvariable('out')
    AND coalesce(getvariable('listed_for').run_id = coalesce(getvariable('run_id')::VARCHAR, '*'), true)
);
CREATE OR REPLACE MACRO merged_parts() AS CASE
    WHEN NOT are_lists_good() THEN []::VARCHAR[]
    WHEN getvariable('run_id') IS NULL THEN list_distinct(map_values(getvariable('merged_of')))
    ELSE map_extract(getvariable('merged_of'), getvariable('run_id')::VARCHAR)
END;
CREATE OR REPLACE MACRO listed_parts() AS flatten(CASE
    WHEN NOT are_lists_good() THEN []::VARCHAR[][]
    WHEN getvariable('run_id') IS NULL THEN map_values(getvariable('parts_of'))
    ELSE map_extract(getvariable('parts_of'), getvariable('run_id')::VARCHAR)
END);
CREATE OR REPLACE MACRO own_parts() AS CASE
    WHEN len(listed_parts()) > 0 OR len(merged_parts()) > 0 OR starts_with(getvariable('out'), 's3://') THEN listed_parts()
    ELSE [getvariable('out') || '/predictions/run_id=' || coalesce(getvariable('run_id')::VARCHAR, '*') || '/part-*.parquet']
END;
CREATE OR REPLACE VIEW predictions AS
FROM query(
    concat_ws(
        ' UNION ALL BY NAME ',
        CASE
            WHEN len(own_parts()) > 0 OR len(merged_parts()) = 0 THEN
                'SELECT *
                 FROM read_parquet(
                     own_parts(), union_by_name = true, hive_partitioning = true, hive_types = {''run_id'': VARCHAR}
                 )'
        END,
        -- Rows of runs that were removed stay in a merged file until the next merge.
        CASE
            WHEN len(merged_parts()) > 0 THEN
                'SELECT *
                 FROM read_parquet(merged_parts(), union_by_name = true, hive_partitioning = false)
                 WHERE ' || CASE
                     WHEN getvariable('run_id') IS NULL
                         THEN 'run_id IN (SELECT unnest(list_transform(getvariable(''listed_runs''), lambda run: run.run_id)))'
                     ELSE 'run_id = getvariable(''run_id'')::VARCHAR'
                 END
        END
    )
);

-- Labels that `ecomintent-batch review import` read; no rows, rather than an error, where there are none.
SET VARIABLE label_files = (
    -- A name without a star is not looked for on an object store.
    SELECT list(file) FROM glob(getvariable('out') || '/reviewed/*.parquet') WHERE ends_with(file, '/labels.parquet')
);

CREATE OR REPLACE VIEW reviewed AS
SELECT *
FROM query(
    CASE
        WHEN len(getvariable('label_files')::VARCHAR[]) > 0 THEN
            'SELECT ticket_id, run_id, row_number, message_hash, reviewed_intent
             FROM read_parquet(getvariable(''label_files'')::VARCHAR[])
             QUALIFY row_number() OVER (
                 PARTITION BY coalesce(ticket_id, run_id || row_number), message_hash ORDER BY reviewed_at DESC
             ) = 1'
        ELSE
            'SELECT NULL::VARCHAR AS ticket_id, NULL::VARCHAR AS run_id, NULL::BIGINT AS row_number,
                 NULL::VARCHAR AS message_hash, NULL::VARCHAR AS reviewed_intent
             WHERE false'
    END
);

-- The newest run that classified a ticket wins, and of its rows the last one; a row without an id is a ticket of its own. Ids of
-- runs sort by time, so that the place of a run and the row make one number that grows: half of the time and memory of a window.
-- Nothing is MATERIALIZED: columns that a query does not ask for are then not read.
CREATE OR REPLACE VIEW latest_predictions AS
WITH sorted AS NOT MATERIALIZED (
    SELECT list(DISTINCT run_id ORDER BY run_id) AS runs FROM predictions
),
placed AS NOT MATERIALIZED (
    SELECT ticket_id, message_hash, (list_position(sorted.runs, run_id)::BIGINT << 40) + row_number AS place
    FROM predictions CROSS JOIN sorted
),
newest AS (
    SELECT max(place) AS place FROM placed WHERE ticket_id IS NOT NULL GROUP BY ticket_id
    UNION ALL
    SELECT place FROM placed WHERE ticket_id IS NULL
),
-- A label holds for the message that the person read, also when a later run classified it again.
labelled AS NOT MATERIALIZED (
    SELECT placed.place, reviewed.reviewed_intent
    FROM placed JOIN reviewed USING (ticket_id, message_hash)
    UNION ALL
    SELECT (list_position(sorted.runs, run_id)::BIGINT << 40) + row_number AS place, reviewed_intent
    FROM reviewed CROSS JOIN sorted
    WHERE ticket_id IS NULL
)
SELECT predictions.*, labelled.reviewed_intent
FROM
    predictions CROSS JOIN sorted
    SEMI JOIN newest ON (list_position(sorted.runs, run_id)::BIGINT << 40) + row_number = newest.place
    LEFT JOIN labelled ON (list_position(sorted.runs, run_id)::BIGINT << 40) + row_number = labelled.place;

-- The branch that is not asked for is gone before anything is read.
CREATE OR REPLACE VIEW tickets AS
SELECT *, NULL::VARCHAR AS reviewed_intent FROM predictions WHERE NOT coalesce(getvariable('latest')::BOOLEAN, false)
UNION ALL
SELECT * FROM latest_predictions WHERE coalesce(getvariable('latest')::BOOLEAN, false);

-- Topics that `run --topics` or `topics` found; no rows where no run has any.
SET VARIABLE topics_files = (SELECT list(file) FROM glob(getvariable('out') || '/summaries/run_id=*/topics.parquet'));
SET VARIABLE topic_tickets_files = (SELECT list(file) FROM glob(getvariable('out') || '/summaries/run_id=*/topic_tickets.parquet'));

CREATE OR REPLACE VIEW topics AS
SELECT *
FROM query(
    CASE
        WHEN len(getvariable('topics_files')::VARCHAR[]) > 0 THEN
            'SELECT regexp_extract(filename, ''run_id=([^/\\]*)'', 1) AS run_id, * EXCLUDE (filename)
             FROM read_parquet(
                 getvariable(''topics_files'')::VARCHAR[], union_by_name = true, hive_partitioning = false, filename = true
             )'
        ELSE
            'SELECT NULL::VARCHAR AS run_id, NULL::INTEGER AS topic, NULL::BIGINT AS tickets, NULL::DOUBLE AS share,
                 NULL::BIGINT AS messages, NULL::BIGINT AS newest_tickets, NULL::DOUBLE AS usual_tickets, NULL::DOUBLE AS score,
                 NULL::DOUBLE AS bound, NULL::VARCHAR AS phrases, NULL::VARCHAR AS nearest_intents, NULL::VARCHAR AS ticket_1,
                 NULL::VARCHAR AS ticket_2, NULL::VARCHAR AS ticket_3
             WHERE false'
    END
);

CREATE OR REPLACE VIEW topic_tickets AS
SELECT *
FROM query(
    CASE
        WHEN len(getvariable('topic_tickets_files')::VARCHAR[]) > 0 THEN
            'SELECT regexp_extract(filename, ''run_id=([^/\\]*)'', 1) AS of_run, * EXCLUDE (filename)
             FROM read_parquet(
                 getvariable(''topic_tickets_files'')::VARCHAR[], union_by_name = true, hive_partitioning = false, filename = true
             )'
        ELSE
            'SELECT NULL::VARCHAR AS of_run, NULL::VARCHAR AS run_id, NULL::BIGINT AS row_number, NULL::VARCHAR AS ticket_id,
                 NULL::INTEGER AS topic, NULL::FLOAT AS distance
             WHERE false'
    END
);

CREATE OR REPLACE VIEW rejects AS
SELECT regexp_extract(filename, 'run_id=([^/\\]*)\.parquet$', 1) AS run_id, * EXCLUDE (filename)
FROM read_parquet(
    coalesce(
        getvariable('reject_files')::VARCHAR[],
        CASE
            WHEN starts_with(getvariable('out'), 's3://')
                THEN list_filter(getvariable('listed_rejects'), lambda file: starts_with(file, getvariable('out') || '/rejects/'))
            ELSE [getvariable('out') || '/rejects/run_id=' || coalesce(getvariable('run_id')::VARCHAR, '*') || '.parquet']
        END
    ),
    union_by_name = true, filename = true
);

CREATE OR REPLACE VIEW runs AS
SELECT run_id, started_at, finished_at, source, model, engine, counts, settings, performance
FROM read_json(
    coalesce(
        getvariable('manifest_files')::VARCHAR[],
        [getvariable('out') || '/runs/' || coalesce(getvariable('run_id')::VARCHAR, '*') || '.json']
    ),
    format = 'unstructured', union_by_name = true, maximum_object_size = 67108864
);

-- The labels of somebody's own that models were made of; no row for a model of the nine intents. Columns that a manifest of
-- an earlier version lacks are NULL, because they are named here.
CREATE OR REPLACE VIEW taxonomies AS
SELECT
    run_id,
    model,
    taxonomy ->> 'name' AS taxonomy,
    taxonomy ->> 'extends' AS extends,
    CAST(taxonomy -> 'was' AS MAP(VARCHAR, VARCHAR)) AS was
FROM read_json(
    coalesce(
        getvariable('manifest_files')::VARCHAR[],
        [getvariable('out') || '/runs/' || coalesce(getvariable('run_id')::VARCHAR, '*') || '.json']
    ),
    format = 'unstructured', columns = {'run_id': 'VARCHAR', 'model': 'VARCHAR', 'taxonomy': 'JSON'},
    maximum_object_size = 67108864
)
WHERE json_type(taxonomy) = 'OBJECT';
