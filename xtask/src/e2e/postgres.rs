//! The suite `postgres`: that the server for tests is what tests take it for.

use super::scenario::{Place, Suite, done};

/// Every scenario.
pub(super) const SCENARIOS: Suite = &[(
    "what_is_committed_survives_kills",
    what_is_committed_survives_kills,
)];

/// Every query is over TLS and verifies the certificate, so this shows that, too.
fn what_is_committed_survives_kills(place: &Place) {
    let postgres = place.own_postgres();
    let ask = |sql: &str| done(postgres.query(sql));
    assert_eq!(ask("SHOW server_encoding"), "UTF8");
    assert_eq!(ask("SHOW fsync"), "on");
    assert_eq!(ask("SHOW synchronous_commit"), "on");
    assert_eq!(
        ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"),
        "t"
    );
    ask("CREATE TABLE kept (number int PRIMARY KEY)");
    for number in 1..=3 {
        ask(&format!("INSERT INTO kept VALUES ({number})"));
        done(postgres.kill());
        assert!(
            postgres.query("SELECT 1").is_err(),
            "a killed server answers"
        );
        done(postgres.revive());
    }
    done(postgres.restart());
    assert_eq!(
        ask("SELECT string_agg(number::text, ',') FROM kept"),
        "1,2,3"
    );
    done(postgres.down());
}
