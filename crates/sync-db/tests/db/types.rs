//! Values of every type, keys of every kind.

use sync_core::map;
use sync_core::rows::{Cell, Kind, RowValue, Schema, load_content};
use sync_db::{Capture, Reading};

use crate::support::{Fixture, specs};

/// What values need: types that are not built in.
const TYPES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'o,k \"', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN small AS positive CHECK (VALUE < 1000);
CREATE DOMAIN word AS varchar(20);
CREATE TYPE address AS (street text, number int, at timestamptz, moods mood[]);
CREATE TYPE floats AS RANGE (subtype = float8);
";

/// Types, and values of them as SQL writes them.
const VALUES: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("smallint", &["-32768", "0", "32767"]),
    ("int", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "real",
        &["-0", "NaN", "Infinity", "1e-45", "3.4028235e38", "0.1"],
    ),
    (
        "float8",
        &[
            "-0",
            "0",
            "NaN",
            "-Infinity",
            "5e-324",
            "1.7976931348623157e308",
            "0.1",
        ],
    ),
    (
        "numeric",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "0.000",
            "1.10",
            "-0.00000000000000000001",
            "123456789012345678901234567890.5",
        ],
    ),
    ("numeric(10,3)", &["1.5", "-99.999"]),
    ("money", &["12.34", "-1000000.01"]),
    (
        "text",
        &["", " ", "it''s \\ \"quoted\"\nand more", "äöüß", "NULL"],
    ),
    ("varchar(20)", &["", "abc "]),
    ("char(5)", &["", "ab", "abcde"]),
    ("\"char\"", &["x", ""]),
    ("name", &["a name"]),
    ("bytea", &["", "\\x00ff7f0a", "\\x5c78"]),
    (
        "date",
        &[
            "infinity",
            "-infinity",
            "4713-11-24 BC",
            "5874897-12-31",
            "2024-02-29",
        ],
    ),
    ("time", &["00:00:00", "24:00:00", "12:34:56.789012"]),
    ("timetz", &["12:34:56.789012+05:30", "00:00:00-12"]),
    (
        "timestamp",
        &[
            "infinity",
            "-infinity",
            "294276-12-31 23:59:59.999999",
            "4713-11-24 00:00:00 BC",
            "2000-01-01",
        ],
    ),
    (
        "timestamptz",
        &[
            "infinity",
            "-infinity",
            "294276-12-31 23:59:59.999999+00",
            "4713-11-24 00:00:00+00 BC",
            "2024-03-31 02:30:00+02",
        ],
    ),
    (
        "interval",
        &[
            "1 year -2 mons 3 days 04:05:06.789",
            "-1 sec",
            "178000000 years",
            "0",
        ],
    ),
    (
        "uuid",
        &[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ],
    ),
    ("json", &["{\"b\":1,  \"a\":[2, 2], \"b\":3}", "null"]),
    (
        "jsonb",
        &[
            "{\"b\":1,  \"a\":[2, 1.10], \"b\":3}",
            "null",
            "\"\\u00e4\"",
            "1e5",
        ],
    ),
    ("jsonpath", &["$.a[*] ? (@ > 1)"]),
    ("xml", &["<a b=\"c\">x</a>", "no element", ""]),
    ("inet", &["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"]),
    ("cidr", &["10.0.0.0/8"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("bit(3)", &["101"]),
    ("bit varying", &["", "10101"]),
    ("point", &["(0.1,-0)", "(NaN,Infinity)"]),
    ("line", &["{1,2,3}"]),
    ("lseg", &["[(0,0),(1,1)]"]),
    ("box", &["(1,1),(0,0)"]),
    ("path", &["[(0,0),(1,1)]", "((0,0),(1,1))"]),
    ("polygon", &["((0,0),(1,1),(1,0))"]),
    ("circle", &["<(0,0),0.1>"]),
    ("tsvector", &["''a'':1A b:2"]),
    ("tsquery", &["a & !b"]),
    ("int4range", &["empty", "[1,10)", "(,5)"]),
    ("int8range", &["[1,)"]),
    ("numrange", &["[1.10,2]", "(,)"]),
    ("tsrange", &["[2024-01-01,infinity)"]),
    ("tstzrange", &["[2024-01-01 00:00+02,)"]),
    ("daterange", &["[2024-01-01,2024-02-01]"]),
    ("floats", &["[0.1,1e300]"]),
    ("int4multirange", &["{}", "{[1,3),[5,7)}"]),
    (
        "tstzmultirange",
        &["{[2024-01-01 00:00+02,2024-01-02 00:00+02)}"],
    ),
    (
        "int[]",
        &["{}", "{1,NULL,3}", "[2:3]={1,2}", "{{1,2},{3,4}}"],
    ),
    ("text[]", &["{\"\",NULL,\"NULL\",\"a,b\",\"\\\"\"}"]),
    ("float8[]", &["{0.1,NaN,-0}"]),
    ("timestamptz[]", &["{\"2024-01-01 00:00+02\",infinity}"]),
    ("bytea[]", &["{\"\\\\x00ff\"}"]),
    ("jsonb[]", &["{\"{\\\"a\\\": 1}\"}"]),
    ("pg_lsn", &["16/B374D848"]),
    ("pg_snapshot", &["10:20:10,14,15"]),
    ("oid", &["4294967295"]),
    ("xid8", &["18446744073709551615"]),
    ("tid", &["(0,1)"]),
    ("int2vector", &["1 2 3"]),
    ("mood", &["sad", "o,k \""]),
    ("mood[]", &["{sad,\"o,k \\\"\"}"]),
    ("positive", &["7"]),
    ("small", &["7"]),
    ("small[]", &["{7,8}"]),
    ("word", &["abc"]),
    (
        "address",
        &[
            "(\"a, b\",1,\"2024-01-01 00:00+02\",\"{sad,happy}\")",
            "(,,,)",
        ],
    ),
    ("address[]", &["{\"(a,1,,)\",NULL}"]),
];

fn create(columns: impl Iterator<Item = usize>) -> String {
    let columns: Vec<_> = columns.map(|n| format!("c{n} {}", VALUES[n].0)).collect();
    format!(
        "CREATE TABLE t ({}, id int PRIMARY KEY);",
        columns.join(", ")
    )
}

/// A row for each value, and one without any.
fn insert() -> String {
    let mut script = "SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'; SET lc_monetary = 'C'; INSERT INTO t (id) VALUES (0);".to_owned();
    let mut id = 0;
    for (n, (name, values)) in VALUES.iter().enumerate() {
        for value in *values {
            id += 1;
            // Only backslashes and doubled quotes of the table are meant as they are.
            let value = if value.contains("''") {
                (*value).to_owned()
            } else {
                value.replace('\'', "''")
            };
            let row = format!("INSERT INTO t (id, c{n}) VALUES ({id}, '{value}'::{name});");
            script.push_str(&row);
        }
    }
    script
}

/// All rows of the first table: the key is a number.
fn rows(fixture: &Fixture, capture: &Capture) -> Vec<Vec<(String, Vec<u8>)>> {
    let source = &fixture.objects;
    map::iter(source, capture.tables[0].entry.rows.root)
        .map(|entry| {
            let row = RowValue::load(&entry.unwrap().1, source).unwrap();
            let cell = |cell: Cell<'_>| match cell {
                Cell::Inline(bytes) => bytes.to_vec(),
                Cell::Stored(content) => load_content(&content, source).unwrap(),
            };
            row.cells()
                .map(|(name, bytes)| (name.to_owned(), cell(bytes)))
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn settings_encoding_and_order_of_columns_change_nothing() {
    let plain = Fixture::new().await;
    let other =
        Fixture::made_with("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
            .await;
    for (setting, value) in [
        ("datestyle", "'German, DMY'"),
        ("timezone", "'Asia/Kathmandu'"),
        ("intervalstyle", "'sql_standard'"),
        ("extra_float_digits", "-5"),
        ("bytea_output", "'escape'"),
        ("xmlbinary", "'hex'"),
        ("search_path", "'nowhere'"),
        ("default_transaction_isolation", "'serializable'"),
    ] {
        other
            .run(&format!(
                "ALTER DATABASE {} SET {setting} = {value}",
                other.name
            ))
            .await;
    }
    plain
        .run(&[TYPES, &create(0..VALUES.len()), &insert()].concat())
        .await;
    other
        .run(
            &[
                "SET search_path = public;",
                TYPES,
                &create((0..VALUES.len()).rev()),
                &insert(),
            ]
            .concat(),
        )
        .await;
    let capture = plain.capture(&specs(&["t"]), None).await.unwrap();
    assert_eq!(capture.root, other.root(&specs(&["t"])).await);

    // Whatever is text is read back from that text, elsewhere.
    let schema: Schema = capture.relations[0].schema();
    let client = other.client().await;
    client
        .batch_execute(
            "SET search_path = public; SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'; \
        SET IntervalStyle = 'postgres'; SET lc_monetary = 'C'; SET bytea_output = 'hex'",
        )
        .await
        .unwrap();
    let mut texts = 0;
    for (id, row) in rows(&plain, &capture).iter().enumerate() {
        for (name, bytes) in row {
            if name == "id" || schema.column(name).unwrap().kind != Kind::Text {
                continue;
            }
            let n: usize = name[1..].parse().unwrap();
            let text = std::str::from_utf8(bytes).unwrap();
            let id = i32::try_from(id).unwrap();
            let update = format!(
                "UPDATE t SET {name} = $1::text::{} WHERE id = $2",
                VALUES[n].0
            );
            let changed = client.execute(&update, &[&text, &id]).await;
            assert_eq!(
                changed.unwrap_or_else(|error| panic!("{error:?}: {update}")),
                1
            );
            texts += 1;
        }
    }
    assert!(texts > 80, "{texts}");
    assert_eq!(capture.root, other.root(&specs(&["t"])).await);
}

#[tokio::test]
async fn values_are_the_bytes_that_they_are() {
    let fixture = Fixture::new().await;
    fixture
        .run(
            "CREATE DOMAIN d AS float8;
            CREATE TABLE t (id int PRIMARY KEY, b bytea, d d, e text, f real, h bool, j jsonb, n numeric, t timestamptz, u uuid, z int[]);
            INSERT INTO t VALUES (-2, '\\x00ff', '-0', '', 'NaN', true, '{\"a\": 1}', 'NaN', '2000-01-01 00:00:00.000001+00',
                '00000000-0000-0000-0000-0000000000ff', '{1,NULL}'), (3, '', '5e-324', NULL, NULL, NULL, NULL, '1.10', 'infinity', NULL, NULL)",
        )
        .await;
    let capture = fixture.capture(&specs(&["t"]), None).await.unwrap();
    let own = |cells: &[(&str, &[u8])]| -> Vec<(String, Vec<u8>)> {
        cells
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
            .collect()
    };
    let mut uuid = [0; 16];
    uuid[15] = 0xff;
    let expected = [
        own(&[
            ("b", &[0, 0xff]),
            ("d", &(-0f64).to_be_bytes()),
            ("e", b""),
            ("f", &f32::NAN.to_be_bytes()),
            ("h", &[1]),
            ("id", &(-2i32).to_be_bytes()),
            ("j", b"\x01{\"a\": 1}"),
            ("n", &[0, 0, 0, 0, 0xc0, 0, 0, 0]),
            ("t", &1i64.to_be_bytes()),
            ("u", &uuid),
            ("z", b"{1,NULL}"),
        ]),
        own(&[
            ("b", b""),
            ("d", &5e-324f64.to_be_bytes()),
            ("id", &3i32.to_be_bytes()),
            ("n", &[0, 2, 0, 0, 0, 0, 0, 2, 0, 1, 3, 0xe8]),
            ("t", &i64::MAX.to_be_bytes()),
        ]),
    ];
    assert_eq!(rows(&fixture, &capture), expected);
}

#[tokio::test]
async fn large_values_and_wide_rows_are_objects() {
    let fixture = Fixture::new().await;
    let columns: Vec<_> = (0..300)
        .map(|n| format!("c{n} text DEFAULT repeat('{n}', 20)"))
        .collect();
    fixture
        .run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, b bytea); CREATE TABLE w (id int PRIMARY KEY, {});
            INSERT INTO t SELECT n, decode(repeat(md5(n::text), 100 * 1000 * 1000 / 16 / 8), 'hex') FROM generate_series(1, 2) n;
            INSERT INTO t SELECT 3, string_agg(b, '') FROM (SELECT b FROM t, generate_series(1, 4)) s;
            INSERT INTO w SELECT generate_series(1, 50)",
            columns.join(", ")
        ))
        .await;
    let capture = fixture.capture(&specs(&["t", "w"]), None).await.unwrap();
    let (_, known) = fixture.settle(&specs(&["t", "w"]), None).await;
    let sizes: Vec<_> = rows(&fixture, &capture)
        .iter()
        .map(|row| row[0].1.len())
        .collect();
    assert_eq!(sizes, [12_500_000, 12_500_000, 100_000_000]);
    let of = "SELECT md5(b) FROM t WHERE id = 3";
    let stored = fixture.client().await.query_one(of, &[]).await.unwrap();
    let own = "SELECT md5($1::bytea)";
    let read = rows(&fixture, &capture).remove(2).remove(0).1;
    let own = fixture
        .client()
        .await
        .query_one(own, &[&read])
        .await
        .unwrap();
    assert_eq!(own.get::<_, String>(0), stored.get::<_, String>(0));
    let again = fixture
        .capture(&specs(&["t", "w"]), Some(known))
        .await
        .unwrap();
    assert_eq!(again.root, capture.root);
    assert!(
        again
            .tables
            .iter()
            .all(|table| table.reading == Reading::Whole)
    );
}

/// Types of keys, values of them, and what changes one value into another that is equal to it, or close to it.
const KEYS: &[(&str, &[&str], &str)] = &[
    ("smallint", &["-5", "0", "300", "-32767", "32767"], "-k - 1"),
    ("int", &["-5", "0", "300", "70000"], "-k"),
    ("bigint", &["-5", "0", "300", "9223372036854775807"], "-k"),
    (
        "text",
        &[
            "",
            "a",
            "B",
            "b",
            "ä",
            "Z",
            "a b",
            "a-b",
            "ab",
            "é",
            "\u{10000}",
            "\u{ffff}",
        ],
        "k || '!'",
    ),
    (
        "text COLLATE \"de-x-icu\"",
        &["", "a", "B", "b", "ä", "Z", "a b", "a-b", "ab"],
        "upper(k) || k",
    ),
    ("text COLLATE loose", &["a", "B", "c"], "upper(k)"),
    ("varchar(9)", &["", "a", "B"], "k || '!'"),
    ("char(4)", &["", "a", "B", "ab"], "upper(k)"),
    ("citext", &["a", "B", "c-d", "cd"], "upper(k::text)::citext"),
    ("name", &["a", "B"], "upper(k::text)::name"),
    (
        "numeric",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "1.0",
            "10",
            "9",
            "-5",
            "0.001",
        ],
        "k * 1.00",
    ),
    ("real", &["-0", "NaN", "1e30", "-1", "0.1"], "-k"),
    ("float8", &["-0", "NaN", "1e300", "-1", "0.1"], "-k"),
    ("bool", &["true", "false"], "k"),
    (
        "bytea",
        &["", "\\x00", "\\x0000", "\\xff", "\\x7f"],
        "k || '\\x01'",
    ),
    (
        "uuid",
        &[
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "7fffffff-ffff-ffff-ffff-ffffffffffff",
        ],
        "k",
    ),
    (
        "date",
        &[
            "infinity",
            "-infinity",
            "1999-01-01",
            "2024-01-01",
            "4713-11-24 BC",
        ],
        "k + 1",
    ),
    (
        "timestamp",
        &["infinity", "-infinity", "1999-01-01", "2024-01-01"],
        "k + '1 day'",
    ),
    (
        "timestamptz",
        &["infinity", "-infinity", "1999-01-01", "2024-01-01"],
        "k + '1 day'",
    ),
    ("time", &["00:00", "24:00", "12:00"], "k"),
    (
        "timetz",
        &["12:00+02", "11:00+02", "12:00-02"],
        "k AT TIME ZONE '-03'",
    ),
    (
        "interval",
        &["1 day", "-1 mon", "3 hours", "30 days"],
        "justify_interval(k) - '1 day' + '24:00'",
    ),
    ("mood", &["sad", "happy", "o,k \""], "k"),
    ("inet", &["10.0.0.1", "9.0.0.1", "::1", "10.0.0.0/8"], "k"),
    ("macaddr", &["08:00:2b:01:02:03", "07:00:2b:01:02:03"], "k"),
    ("bit varying", &["", "1", "01"], "k || B'0'"),
    (
        "jsonb",
        &["1.0", "{\"a\": 2}", "null", "[]"],
        "jsonb_build_array(k)",
    ),
    ("int4range", &["empty", "[1,10)", "(,5)"], "k"),
    ("int[]", &["{1,NULL}", "{}", "{10}", "{9}"], "k || 1"),
    ("text[]", &["{b}", "{B}", "{a,b}"], "k || 'c'::text"),
    ("address", &["(a,1,,)", "(b,,,)"], "k"),
    ("small", &["9", "10", "999"], "1000 - k"),
    ("word", &["b", "B", "a"], "k || '!'"),
];

#[tokio::test]
async fn keys_of_every_type_come_in_their_order() {
    let fixture = Fixture::new().await;
    fixture.run(TYPES).await;
    fixture
        .run("CREATE EXTENSION citext; CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
        .await;
    for (name, values, change) in KEYS {
        let values: Vec<_> = values
            .iter()
            .map(|v| {
                format!(
                    "('{}', 'z'), ('{}', 'y')",
                    v.replace('\'', "''"),
                    v.replace('\'', "''")
                )
            })
            .collect();
        fixture
            .run(&format!(
                "CREATE TABLE one (k {name} PRIMARY KEY, l text); CREATE TABLE two (k {name}, l text, PRIMARY KEY (k, l));
                CREATE TABLE owt (k {name}, l text, PRIMARY KEY (l, k));
                INSERT INTO two VALUES {v}; INSERT INTO owt SELECT * FROM two; INSERT INTO one SELECT * FROM two WHERE l = 'z'",
                v = values.join(", ")
            ))
            .await;
        let tables = specs(&["one", "two", "owt"]);
        for table in &tables {
            fixture.db.track(table).await.unwrap();
        }
        let (whole, known) = fixture.settle(&tables, None).await;
        let count = i64::try_from(whole.tables[0].entry.rows.len).unwrap();
        assert_eq!(
            count,
            fixture.count("SELECT count(*) FROM one").await,
            "{name}"
        );
        fixture
            .run(&format!(
                "UPDATE two SET k = {change}; UPDATE owt SET k = {change}; UPDATE one SET k = {change}, l = 'new';
                DELETE FROM one WHERE ctid = (SELECT max(ctid) FROM one)"
            ))
            .await;
        let capture = fixture
            .capture(&tables, Some(known))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            capture
                .tables
                .iter()
                .all(|table| table.reading != Reading::Whole),
            "{name}"
        );
        assert_eq!(capture.root, fixture.root(&tables).await, "{name}");
        fixture.run("DROP TABLE one, two, owt").await;
        for table in &tables {
            fixture.db.untrack(&table.name).await.unwrap();
        }
    }
}

/// The bytes of these sort in another way than their UTF-8.
#[tokio::test]
async fn keys_of_every_encoding_come_in_their_order() {
    let script = "CREATE TABLE t (k text PRIMARY KEY, v mood);
        INSERT INTO t VALUES ('Ž', 'sad'), ('é', NULL), ('z', 'happy'), ('š', NULL)";
    let script = [TYPES, script].concat();
    let mut roots = Vec::new();
    for encoding in ["UTF8", "WIN1252", "LATIN2", "LATIN9"] {
        let options =
            format!("ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        let fixture = Fixture::made_with(&options).await;
        fixture.run(&script).await;
        let tables = specs(&["t"]);
        fixture.db.track(&tables[0]).await.unwrap();
        let (capture, known) = fixture.settle(&tables, None).await;
        roots.push(capture.root);
        fixture.run("UPDATE t SET v = 'sad'").await;
        let next = fixture.capture(&tables, Some(known)).await.unwrap();
        assert_eq!(next.tables[0].reading, Reading::Log { keys: 4 });
        assert_eq!(next.root, fixture.root(&tables).await);
    }
    assert!(roots.windows(2).all(|pair| pair[0] == pair[1]));
}
