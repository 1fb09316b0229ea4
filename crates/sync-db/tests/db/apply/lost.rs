//! A connection that is lost while what was applied is committed.

use sync_core::fault::{Class, Fault as _};
use sync_db::{ConnectOptions, Database, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::apply::Pair;

/// Whether the database hears the `COMMIT` before the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Heard,
    Lost,
}

/// The message that asks for it, as PostgreSQL's manual has it in "Message Formats", `Query`.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// A way to the database of `url` that ends with the first `COMMIT`; gives the URL of the way.
async fn cut_at_commit(url: &str, commit: Commit) -> String {
    let (user, rest) = url.split_once('@').expect("the URL names a role");
    let (address, database) = rest.split_once('/').expect("the URL names a database");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let way = listener.local_addr().expect("the address of a listener");
    let address = address.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await;
            tokio::spawn(relay(client, server.expect("PostgreSQL answers"), commit));
        }
    });
    format!("{user}@{way}/{database}")
}

/// Passes bytes on in both directions until a `COMMIT` comes by.
async fn relay(mut client: TcpStream, mut server: TcpStream, commit: Commit) {
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut newest = Vec::new();
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(1..) = read else { return };
                let bytes = &asked[..read.unwrap_or(0)];
                newest.extend_from_slice(bytes);
                let commits = newest.windows(COMMIT.len()).any(|window| window == COMMIT);
                newest.drain(..newest.len().saturating_sub(COMMIT.len()));
                if !commits || commit == Commit::Heard {
                    server.write_all(bytes).await.expect("PostgreSQL listens");
                }
                if commits {
                    if commit == Commit::Heard {
                        // Its answer says that it is done; nobody else hears of it.
                        let read = server.read(&mut answered).await;
                        assert_ne!(read.expect("PostgreSQL answers"), 0);
                    }
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(1..) = read else { return };
                let passed = client.write_all(&answered[..read.unwrap_or(0)]).await;
                if passed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn a_lost_commit(commit: Commit, rows: i64) {
    let pair = Pair::new("CREATE TABLE t (id int PRIMARY KEY, a text)", &["t"]).await;
    let insert = "INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 100) i";
    pair.from.run(insert).await;
    let plan = pair.plan().await;
    // What is not there yet is made in a transaction of its own.
    pair.to.db.ensure_bookkeeping().await.unwrap();
    let way = cut_at_commit(&pair.to.url, commit).await;
    let database = Database::new(&way, ConnectOptions::default()).unwrap();
    let applied = database.apply(plan, pair.objects(), pair.objects(), |_| ());
    let error = applied.await.unwrap_err();
    assert!(matches!(error, Error::Uncertain { .. }), "{error:?}");
    assert_eq!(error.code(), "db/uncertain");
    assert_eq!(error.class(), Class::Unavailable);
    assert!(error.hint().is_some());
    // Whole, or not at all; and whoever looks again goes on from there.
    assert_eq!(pair.to.count("SELECT count(*) FROM t").await, rows);
    pair.apply_all().await;
    assert_eq!(pair.to.count("SELECT count(*) FROM t").await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_has_happened() {
    a_lost_commit(Commit::Heard, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_lost_leaves_nothing() {
    a_lost_commit(Commit::Lost, 0).await;
}
