-- What changes whenever one of the questions of `relation.rs` would be answered in another way: the transactions that wrote
-- the rows of the catalogue that the answers come from.
SELECT w.n, md5(concat_ws(' ', c.oid, c.xmin, d.xmin,
    (SELECT string_agg(concat_ws(' ', a.attnum, a.xmin, (
            SELECT concat_ws(' ', y.oid, y.xmin,
                (SELECT n.xmin FROM pg_namespace n WHERE n.oid = y.typnamespace),
                (SELECT b.xmin FROM pg_type b WHERE b.oid = y.typbasetype))
            FROM pg_type y WHERE y.oid = a.atttypid)), ' ' ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
    (SELECT string_agg(concat_ws(' ', i.indexrelid, i.xmin, x.xmin), ' ' ORDER BY i.indexrelid)
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid),
    (SELECT string_agg(concat_ws(' ', k.oid, k.xmin, f.xmin, fn.xmin), ' ' ORDER BY k.oid)
        FROM pg_constraint k
        LEFT JOIN pg_class f ON f.oid = k.confrelid
        LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace
        WHERE k.conrelid = c.oid),
    (SELECT string_agg(concat_ws(' ', t.oid, t.xmin), ' ' ORDER BY t.oid) FROM pg_trigger t WHERE t.tgrelid = c.oid),
    (SELECT string_agg(concat_ws(' ', s.oid, s.xmin), ' ' ORDER BY s.oid)
        FROM pg_depend p JOIN pg_class s ON s.oid = p.objid AND s.relkind = 'S'
        WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = c.oid)))
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w(nspname, relname, n)
JOIN pg_namespace d ON d.nspname = w.nspname
JOIN pg_class c ON c.relnamespace = d.oid AND c.relname = w.relname
ORDER BY w.n
