-- Views over all committed runs, for the DuckDB shell and for every other query in this folder.
-- Parameters: out = the folder given to `ecomintent-batch run --out`
--   D SET VARIABLE out = 'ecomintent-out';
--   D .read sql/views.sql
-- predictions: one row per ticket and run (the columns are in the README), with `run_id` from the folder's name.
CREATE OR REPLACE VIEW predictions AS
SELECT *
FROM read_parquet(
    getvariable('out') || '/predictions/run_id=*/part-*.parquet',
    union_by_name = true, hive_partitioning = true, hive_types = {'run_id': VARCHAR}
);

-- rejects: one row per source row that could not be read.
CREATE OR REPLACE VIEW rejects AS
SELECT *
FROM read_parquet(
    getvariable('out') || '/rejects/run_id=*.parquet', union_by_name = true, filename = true
);

-- runs: one row per committed run, from the manifests.
CREATE OR REPLACE VIEW runs AS
SELECT run_id, started_at, finished_at, source, model, counts, settings
FROM read_json(
    getvariable('out') || '/runs/*.json', format = 'unstructured', union_by_name = true, maximum_object_size = 67108864
);
