-- What each run has cost on a machine of a given price.
-- Parameters: run_id = one run, or NULL for all; hourly_price = USD an hour of the machine, 0.10 when unset
-- Grain: one row per run, the newest first
-- Columns: run_id, started_at, source, engine, tickets, elapsed_s, tickets_per_s, cost_usd, cost_per_1000_usd (both null where
--   nothing was timed)
SELECT
    run_id,
    started_at,
    source,
    engine,
    counts.predictions AS tickets,
    performance.elapsed_s AS elapsed_s,
    performance.tickets_per_s AS tickets_per_s,
    elapsed_s / 3600 * coalesce(getvariable('hourly_price')::DOUBLE, 0.10) AS cost_usd,
    1000 * cost_usd / nullif(tickets, 0) AS cost_per_1000_usd
FROM runs
ORDER BY run_id DESC;
