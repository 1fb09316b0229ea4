WITH held(pid, holds, name) AS (
    -- A log, which triggers write to: rows of its table were changed.
    SELECT l.pid, 'changes', t.name
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relnamespace = to_regnamespace('sync')
    JOIN sync.tracked t ON c.relname = 'log_' || t.number
    WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    UNION
    SELECT l.pid, 'locks', t.name
    FROM pg_catalog.pg_locks l
    JOIN sync.tracked t ON t.relation = l.relation
    WHERE l.locktype = 'relation' AND l.mode <> 'AccessShareLock' AND l.granted
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    UNION
    SELECT l.pid, 'sync', NULL
    FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = {locks} AND l.objid IN ({ours})
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
),
holder(pid, holds, tables) AS (
    SELECT pid,
        CASE WHEN bool_or(holds = 'sync') THEN 'sync' WHEN bool_or(holds = 'changes') THEN 'changes' ELSE 'locks' END,
        COALESCE(array_agg(DISTINCT name ORDER BY name) FILTER (WHERE name IS NOT NULL), '{}')
    FROM held WHERE pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
    GROUP BY pid
)
SELECT h.pid, a.usename::text, a.application_name, a.state,
    GREATEST(extract(epoch FROM clock_timestamp() - a.xact_start) * 1000, 0)::int8, h.holds, h.tables
FROM holder h LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid
ORDER BY a.xact_start NULLS LAST, h.pid
