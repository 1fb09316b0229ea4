//! Being woken when a tracked table changes.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};

use crate::track::CHANNEL;
use crate::{Database, Error};

/// A connection of its own that is told when a transaction has changed rows of a tracked table.
///
/// As long as there is one, transactions that change rows of tracked tables notify, if no other one is just about to:
/// one that changed rows while another notified is among those that [`Capture::is_writing`](crate::Capture::is_writing)
/// tells of. What was changed before [`Database::listen`] returned wakes nobody: capture once after it.
#[derive(Debug)]
pub struct Listener {
    database: Database,
    client: Client,
    woken: Arc<Notify>,
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
    has_ended: bool,
}

impl Database {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// What the database says, and [`Error::Timeout`].
    pub async fn listen(&self) -> Result<Listener, Error> {
        let said = self.while_("starting to listen");
        self.ensure_bookkeeping().await?;
        let (config, tls) = self.parts();
        let woken = Arc::new(Notify::new());
        let (client, task) = match tls {
            None => follow(config, NoTls, &woken).await,
            Some(tls) => follow(config, tls.clone(), &woken).await,
        }
        .map_err(said)?;
        let listener = Listener {
            database: self.clone(),
            client,
            woken,
            task,
            has_ended: false,
        };
        // Rows of listeners that ended without saying so go first: a transaction should not notify nobody.
        let script = format!(
            "SET default_transaction_read_only = off; SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings \
            WHERE name = 'idle_session_timeout'; LISTEN {CHANNEL}; \
            DELETE FROM sync.watch WHERE pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_activity); \
            INSERT INTO sync.watch VALUES (pg_backend_pid()) ON CONFLICT DO NOTHING"
        );
        let started = listener.client.batch_execute(&script).await;
        started.map_err(said)?;
        Ok(listener)
    }
}

impl Listener {
    /// Waits until something has changed since it was last asked. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] where the connection ended: what changes from then on wakes nobody, so listen anew, and
    /// capture then.
    pub async fn changed(&mut self) -> Result<(), Error> {
        let doing = "listening for changes";
        if self.has_ended {
            return Err(Error::Task);
        }
        tokio::select! {
            biased;
            () = self.woken.notified() => Ok(()),
            ended = &mut self.task => {
                self.has_ended = true;
                match ended {
                    Ok(Err(error)) => Err(self.database.error(doing, &error)),
                    _ => Err(Error::Task),
                }
            }
        }
    }

    /// Ends it, so that transactions notify nobody any more.
    ///
    /// # Errors
    ///
    /// What the database says; the next listener cleans up then.
    pub async fn close(self) -> Result<(), Error> {
        let said = self.database.while_("ending to listen");
        let script = "DELETE FROM sync.watch WHERE pid = pg_backend_pid()";
        self.client.batch_execute(script).await.map_err(said)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Followed = (Client, JoinHandle<Result<(), tokio_postgres::Error>>);

async fn follow<T>(
    config: &tokio_postgres::Config,
    tls: T,
    woken: &Arc<Notify>,
) -> Result<Followed, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    let woken = Arc::clone(woken);
    Ok((client, tokio::spawn(run(connection, woken))))
}

/// Drives the connection to its end.
async fn run<S, T>(
    mut connection: Connection<S, T>,
    woken: Arc<Notify>,
) -> Result<(), tokio_postgres::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await
    {
        if matches!(message?, AsyncMessage::Notification(_)) {
            woken.notify_one();
        }
    }
    Ok(())
}
