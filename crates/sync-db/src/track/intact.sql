WITH RECURSIVE family(number, member) AS (
    SELECT number, relation FROM sync.tracked WHERE relation = ANY($1)
    UNION
    SELECT f.number, i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.member
),
member(number, is_kept, mark) AS (
    SELECT f.number,
        count(*) FILTER (WHERE g.tgenabled = 'A' AND g.tgfoid = p.oid AND g.tgqual IS NULL) = 4,
        concat_ws(' ', f.member, c.relfilenode, string_agg(concat_ws(' ', g.oid, g.xmin), ' ' ORDER BY g.tgname))
    FROM family f
    JOIN pg_class c ON c.oid = f.member
    LEFT JOIN pg_proc p ON p.proname = 'log_' || f.number AND p.pronamespace = 'sync'::regnamespace
    LEFT JOIN pg_trigger g ON g.tgrelid = f.member
        AND g.tgname IN ('sync_insert', 'sync_update', 'sync_delete', 'sync_truncate')
    GROUP BY f.number, f.member, c.relfilenode
)
SELECT t.number, t.relation,
    COALESCE(p.prosecdef AND p.proconfig = '{search_path=pg_catalog}' AND md5(p.prosrc) = t.definition, false)
        AND l.oid IS NOT NULL
        AND t.key = {key}
        AND (SELECT bool_and(m.is_kept) FROM member m WHERE m.number = t.number),
    md5(concat_ws(' ', t.definition, p.xmin, l.oid, l.relfilenode,
        (SELECT string_agg(m.mark, ' ' ORDER BY m.mark) FROM member m WHERE m.number = t.number),
        -- A value of an enum is renamed without a row being written.
        CASE WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.relation AND a.atttypid >= 16384)
            THEN (SELECT string_agg(concat_ws(' ', e.oid, e.enumlabel), ' ' ORDER BY e.oid) FROM pg_enum e) END))
FROM sync.tracked t
LEFT JOIN pg_proc p ON p.proname = 'log_' || t.number AND p.pronamespace = 'sync'::regnamespace
LEFT JOIN pg_class l ON l.relname = 'log_' || t.number AND l.relnamespace = 'sync'::regnamespace
WHERE t.relation = ANY($1)
ORDER BY t.number
