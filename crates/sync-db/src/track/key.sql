ARRAY(
    SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), NULLIF(a.attcollation, 0)::regcollation)
    FROM pg_index i
    CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = {relation} AND i.indisprimary AND k.n <= i.indnkeyatts
    ORDER BY k.n)
