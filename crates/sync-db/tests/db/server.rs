//! The PostgreSQL for tests, and databases in it. The tests of `sync-local` use this file, too.

/// Where the PostgreSQL for tests is; the role has to be a superuser.
pub(crate) fn server() -> String {
    std::env::var("SYNC_TEST_POSTGRES").expect(
        "SYNC_TEST_POSTGRES is not set: run `cargo xtask e2e up`, which starts a PostgreSQL and says how to set it",
    )
}

/// The URL of another database on that server.
fn url_of(name: &str) -> String {
    let server = server();
    let (base, query) = match server.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (server.as_str(), String::new()),
    };
    let (host, _) = base.rsplit_once('/').expect("the URL names a database");
    format!("{host}/{name}{query}")
}

/// Runs statements on a connection of their own.
pub(crate) async fn run(url: &str, script: &str) {
    let (client, connection) = connect(url).await;
    let ran = client.batch_execute(script).await;
    drop(client);
    connection.await.expect("the connection ends");
    ran.unwrap_or_else(|error| panic!("{error:?}\n{script}"));
}

/// A connection to the database at a URL, and the task that serves it.
pub(crate) async fn connect(url: &str) -> (tokio_postgres::Client, tokio::task::JoinHandle<()>) {
    let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("the PostgreSQL for tests answers");
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client, task)
}

/// Makes a database anew with these options of `CREATE DATABASE`, and gives its URL.
pub(crate) async fn create(name: &str, options: &str) -> String {
    let server = server();
    let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    run(&server, &drop).await;
    run(&server, &format!("CREATE DATABASE {name} {options}")).await;
    url_of(name)
}

/// Drops a database; for the end of a test, where nothing is async.
pub(crate) fn discard(name: &str) {
    let (server, name) = (server(), name.to_owned());
    // A thread of its own: the runtime of the test may be about to end.
    let dropped = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let script = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        runtime.block_on(run(&server, &script));
    });
    let _ = dropped.join();
}
