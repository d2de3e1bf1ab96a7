-- What changed, as weeks and months in which volumes or the share of unsure tickets left their usual range, and slow drifts.
-- Parameters: run_id = one run, or NULL for all; time_column = the column with the ticket's time; by_columns = list of columns
--   within whose 100 most frequent values to look, too, as [brand, country]; since = periods that ended before this day are
--   not judged, save the newest full ones, NULL to judge all; false_findings = findings to accept in a period without any event,
--   over all tickets, and the same within the by_columns, 0.05 when unset
-- Grain: one row per finding, and one for all tickets of the newest full week and of the newest full month, whether or not it
--   is a finding; drifts first, then the newest period first, in it the strongest finding
-- Columns: kind (drift, month, week), period (its first day; of a drift that of the newest 52 full weeks), period_end (its last
--   day), by_column and value (null for all tickets), intent (null for all intents), measure (tickets or unsure_share; of a
--   drift share or unsure_share), found, usual (median of the 8 periods before; of a drift the two ends of the line through the
--   weekly shares), tickets (that the share is of), low and high (95 % interval of the change of a drift), score, bound, periods
--   (that it is compared with), is_finding (score at or beyond bound). The score of a week or month is the least of three: the
--   robust z of unusual_days; the distance from usual over what chance alone does to a count; and the same against the usual
--   ratio to the tickets of other intents, so that a week that is busy everywhere is one finding. Of a drift it is the slope over
--   its standard error. The bound is such that chance alone makes false_findings findings in a period, however many series are
--   judged. A week or month needs 4 periods before it, a drift 12 weeks. First and last periods that are incomplete are not
--   judged; one without any ticket is taken as missing.
WITH
-- No kept column has a name with a leading blank. ' all' makes one group of all tickets.
daily AS (
    SELECT
        COLUMNS(lambda c: lower(c) = lower(getvariable('time_column')))::DATE AS " day",
        intent::VARCHAR AS " intent",
        COLUMNS(lambda c: c = ' all' OR list_contains(
            list_transform(coalesce(getvariable('by_columns')::VARCHAR[], []), lambda name: lower(name)), lower(c)
        ))::VARCHAR,
        count(*) AS " tickets",
        count(*) FILTER (below_threshold) AS " unsure",
        count(*) FILTER (below_threshold IS NOT NULL) AS " labelled",
        max(classified_at)::DATE AS " classified"
    FROM (SELECT '' AS " all", * FROM tickets)
    GROUP BY ALL
),
-- A typing error in a year must not make a week of 2062 the newest one.
known AS MATERIALIZED (
    SELECT * FROM daily WHERE " day" <= coalesce((SELECT max(" classified") FROM daily), DATE '9999-12-31')
),
periods AS (
    SELECT DISTINCT
        kind,
        date_trunc(kind, " day")::DATE AS period,
        (period + ('1 ' || kind)::INTERVAL - INTERVAL 1 DAY)::DATE AS period_end,
        datediff(kind, DATE '2001-01-01', period) AS place
    FROM known CROSS JOIN (VALUES ('week'), ('month')) AS kinds(kind)
    WHERE period >= (SELECT min(" day") FROM known) AND period_end <= (SELECT max(" day") FROM known)
),
cells AS MATERIALIZED (
    SELECT
        periods.kind, place, by_column, value, " intent" AS intent,
        sum(" tickets") AS tickets, sum(" unsure") AS unsure, sum(" labelled") AS labelled
    FROM
        known UNPIVOT (value FOR by_column IN (COLUMNS(lambda c: c = ' all' OR NOT starts_with(c, ' '))))
        CROSS JOIN (VALUES ('week'), ('month')) AS kinds(kind)
        JOIN periods ON periods.kind = kinds.kind AND periods.period = date_trunc(kinds.kind, " day")::DATE
    GROUP BY ALL
),
groups AS (
    SELECT by_column, value
    FROM cells
    GROUP BY by_column, value
    QUALIFY row_number() OVER (PARTITION BY by_column ORDER BY sum(tickets) DESC, value) <= 100
),
totals AS (
    SELECT kind, place, by_column, value, sum(tickets) AS tickets, sum(unsure) AS unsure, sum(labelled) AS labelled
    FROM cells SEMI JOIN groups USING (by_column, value)
    GROUP BY ALL
),
-- Every series in every full period, with its zeros: `n` of `size`.
filled AS (
    SELECT
        kind, place, by_column, value, coalesce(tickets, 0) AS tickets, coalesce(unsure, 0) AS unsure, coalesce(labelled, 0) AS labelled
    FROM (SELECT kind, place, by_column, value FROM periods CROSS JOIN groups) LEFT JOIN totals USING (kind, place, by_column, value)
),
series AS MATERIALIZED (
    SELECT kind, place, by_column, value, intent, 'tickets' AS measure, coalesce(cells.tickets, 0) AS n, filled.tickets AS size
    FROM
        filled JOIN (SELECT DISTINCT by_column, value, intent FROM cells) USING (by_column, value)
        LEFT JOIN cells USING (kind, place, by_column, value, intent)
    UNION ALL
    SELECT kind, place, by_column, value, ' all', 'tickets', tickets, NULL FROM filled
    UNION ALL
    SELECT kind, place, by_column, value, ' all', 'unsure_share', unsure, labelled FROM filled
),
compared AS (
    SELECT
        *,
        n / nullif(size, 0) AS share,
        median(n) OVER before AS usual_n,
        mad(n) OVER before AS spread_n,
        median(n / nullif(size, 0)) OVER before AS usual_share,
        mad(n / nullif(size, 0)) OVER before AS spread_share,
        median(n / nullif(size - n, 0)) OVER before AS usual_ratio,
        count(*) OVER before AS periods
    FROM series
    WINDOW before AS (
        PARTITION BY kind, by_column, value, intent, measure ORDER BY place RANGE BETWEEN 8 PRECEDING AND 1 PRECEDING
    )
),
-- Square roots of counts and arcsines of shares have the same spread at every size, few tickets included. A median of
-- few periods is uncertain itself: pi / 2 / periods is its variance.
distances AS (
    SELECT
        *,
        sqrt(1 + pi() / 2 / greatest(periods, 1)) AS widening,
        CASE measure
            WHEN 'tickets' THEN (n - usual_n) / greatest(1.4826 * spread_n, sqrt(usual_n), 1)
            ELSE (share - usual_share) / greatest(
                1.4826 * spread_share, sqrt(greatest(usual_share * (1 - usual_share), 1 / size) / size)
            )
        END AS z,
        CASE measure
            WHEN 'tickets' THEN 2 * (sqrt(n + 0.375) - sqrt(usual_n + 0.375))
            ELSE 2 * sqrt(size) * (asin(sqrt((n + 0.375) / (size + 0.75))) - asin(sqrt((usual_share * size + 0.375) / (size + 0.75))))
        END / widening AS by_chance,
        CASE
            WHEN measure = 'tickets' AND size > n AND usual_ratio IS NOT NULL
            THEN 2 * (sqrt(n + 0.375) - sqrt(usual_ratio * (size - n) + 0.375)) / widening
            ELSE by_chance
        END AS by_mix
    FROM compared
    WHERE size IS NULL OR size > 0
),
judged AS (
    SELECT
        kind, period, period_end, by_column, value, intent, measure,
        CASE measure WHEN 'tickets' THEN n ELSE share END AS found,
        CASE measure WHEN 'tickets' THEN usual_n ELSE usual_share END AS usual,
        coalesce(size, n) AS tickets,
        NULL::DOUBLE AS low,
        NULL::DOUBLE AS high,
        CASE WHEN periods >= 4 THEN
            CASE
                WHEN sign(z) = sign(by_chance) AND sign(z) = sign(by_mix)
                THEN sign(z) * least(abs(z), abs(by_chance), abs(by_mix))
                ELSE 0
            END
        END AS score,
        count(*) FILTER (periods >= 4 AND greatest(n, usual_n) > 0) OVER (PARTITION BY kind, period, by_column = ' all') AS judgements,
        periods,
        period = max(period) OVER (PARTITION BY kind) AS is_newest
    FROM distances JOIN periods USING (kind, place)
),
-- A line through the shares of the newest 52 full weeks.
trends AS (
    SELECT
        by_column, value, intent, measure,
        count(*) AS weeks, max(place) - min(place) AS steps, max(place) AS last_place, min(place) AS first_place,
        sum(n) AS n_sum, sum(size) AS size_sum, n_sum / size_sum AS mean_share,
        regr_slope(n / size, place) AS slope,
        regr_intercept(n / size, place) AS intercept,
        sqrt(greatest(
            (regr_syy(n / size, place) - slope * regr_sxy(n / size, place)) / (weeks - 2),
            mean_share * (1 - mean_share) / avg(size)
        ) / regr_sxx(n / size, place)) AS slope_error
    FROM series
    WHERE kind = 'week' AND size > 0 AND place > (SELECT max(place) FROM periods WHERE kind = 'week') - 52
    GROUP BY by_column, value, intent, measure
    HAVING weeks >= 12 AND n_sum BETWEEN weeks AND size_sum - weeks
),
drifts AS (
    SELECT
        'drift' AS kind, first.period, last.period_end, by_column, value, intent,
        CASE measure WHEN 'tickets' THEN 'share' ELSE measure END AS measure,
        greatest(least(intercept + slope * last_place, 1), 0) AS found,
        greatest(least(intercept + slope * first_place, 1), 0) AS usual,
        size_sum AS tickets,
        steps * (slope - 1.96 * slope_error) AS low,
        steps * (slope + 1.96 * slope_error) AS high,
        slope / slope_error AS score,
        count(*) OVER (PARTITION BY by_column = ' all') AS judgements,
        weeks AS periods,
        false AS is_newest
    FROM
        trends
        JOIN periods AS first ON first.kind = 'week' AND first.place = first_place
        JOIN periods AS last ON last.kind = 'week' AND last.place = last_place
),
-- The tails of a normal distribution beyond z hold sqrt(2 / pi) * exp(-z * z / 2) / z.
bounded AS (
    SELECT
        *,
        greatest(judgements, 1) / coalesce(getvariable('false_findings')::DOUBLE, 0.05) AS odds,
        sqrt(2 * ln(odds * sqrt(2 / pi()) / sqrt(2 * ln(odds)))) AS bound
    FROM (SELECT * FROM judged UNION ALL SELECT * FROM drifts)
)
SELECT
    kind,
    period,
    period_end,
    nullif(bounded.by_column, ' all') AS by_column,
    nullif(bounded.value, '') AS value,
    nullif(bounded.intent, ' all') AS intent,
    measure,
    found::DOUBLE AS found,
    usual::DOUBLE AS usual,
    tickets::BIGINT AS tickets,
    low,
    high,
    score,
    bound,
    periods,
    coalesce(abs(score) >= bound, false) AS is_finding
FROM bounded
WHERE
    (is_finding AND (is_newest OR kind = 'drift' OR period_end >= coalesce(getvariable('since')::DATE, DATE '0001-01-01')))
    OR (is_newest AND bounded.by_column = ' all' AND bounded.intent = ' all' AND measure = 'tickets')
ORDER BY kind, period DESC, abs(score) DESC, bounded.by_column, bounded.value, bounded.intent, measure;
