//! A server and three workspaces at once, on a network that delays, cuts, swallows and refuses, in processes that die.
//!
//! Every seed is a plan of what goes wrong and when: connections are cut after so many bytes of either direction or swallow what
//! they are given, a workspace has no network for a command, a command is dropped after so many of its steps (what it does on a
//! blocking thread goes on, as it does in a program that stops waiting), the server is dropped with all its requests and comes
//! back, and clocks are wrong. All three work at the same time, so that which of them is first is not part of the plan.
//! When the network is whole again they sync until nothing moves: then their trees are equal, and every token that was ever
//! written is there, unless somebody removed a file in which it was seen.
//! A failure prints its seed: `SYNC_SEED=17 cargo test -p sync-cli --test cli simulation` runs that one alone, and
//! `SYNC_SIMULATIONS=20000` as many as one likes.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use sync_core::retry::Backoff;
use sync_core::{Class, Fault as _, Name};
use sync_engine::{Context, Error, OnConflict, Remote, Session, Workspace};
use sync_server::Server;
use sync_store::Store;
use sync_transport::{
    Client, ClientOptions, Connect, Endpoint, Io, Listener, MemoryConnector, ServerOptions, serve,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

use super::schedules::{ANYTHING, Ledger, Random, edit, files, run_seeds, text};

const SIMULATIONS: u64 = 2_000;
pub(super) const NAMES: [&str; 3] = ["ada", "ben", "cy"];
/// What each of them does while things go wrong.
const STEPS: usize = 8;
/// Syncs of everybody that may be needed until nothing moves.
const ROUNDS: usize = 8;

/// What goes wrong on the way of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// Nobody is reached.
    Away,
    /// A connection is reset when so many bytes went up, or down.
    Cut {
        up: usize,
        down: usize,
    },
    /// A connection takes everything from there on, and nothing comes of it.
    Hole {
        up: usize,
    },
}

impl Trouble {
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Away,
            1 | 2 => Self::Cut {
                up: random.below(6_000),
                down: usize::MAX,
            },
            3 => Self::Cut {
                up: usize::MAX,
                down: random.below(3_000),
            },
            4 if random.below(4) == 0 => Self::Hole {
                up: random.below(4_000),
            },
            _ => Self::None,
        }
    }
}

/// The server's place on the network: whichever process is there now.
#[derive(Debug, Default)]
pub(super) struct Host(Mutex<Option<MemoryConnector>>);

/// The way from one workspace to the server.
pub(super) struct Line {
    host: Arc<Host>,
    trouble: Mutex<Trouble>,
    /// How long every piece of an answer takes.
    latency: Duration,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a simulated line")
    }
}

impl Line {
    pub(super) fn new(host: &Arc<Host>, random: &mut Random) -> Self {
        Self {
            host: Arc::clone(host),
            trouble: Mutex::new(Trouble::None),
            latency: Duration::from_micros([0, 0, 300][random.below(3)]),
        }
    }

    /// A client at its end that gives up soon.
    pub(super) fn impatient(self: &Arc<Self>) -> Client {
        self.client(ClientOptions {
            connect_timeout: Duration::from_millis(300),
            response_timeout: Duration::from_millis(300),
            idle_timeout: Duration::from_millis(300),
            backoff: Backoff {
                base: Duration::from_millis(1),
                cap: Duration::from_millis(4),
                attempts: 3,
                max_retry_after: Duration::from_millis(10),
            },
            ..ClientOptions::default()
        })
    }

    /// A client at its end.
    pub(super) fn client(self: &Arc<Self>, options: ClientOptions) -> Client {
        let connector = Arc::clone(self) as Arc<dyn Connect>;
        Client::new(Endpoint::Custom(connector), None, None, options)
    }

    pub(super) fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    async fn open(&self) -> io::Result<Box<dyn Io>> {
        let trouble = *self.trouble.lock().unwrap();
        let server = self.host.0.lock().unwrap().clone();
        let server = server.filter(|_| trouble != Trouble::Away);
        let server = server.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (up, down) = match trouble {
            Trouble::Cut { up, down } => (up, down),
            Trouble::Hole { up } => (up, usize::MAX),
            Trouble::None | Trouble::Away => (usize::MAX, usize::MAX),
        };
        if matches!(trouble, Trouble::Cut { .. }) {
            // What is tried again comes through, from where it was cut.
            self.set(Trouble::None);
        }
        Ok(Box::new(Wire {
            inner: server.connect().await?,
            up,
            down,
            is_hole: matches!(trouble, Trouble::Hole { .. }),
            latency: self.latency,
            pause: None,
        }))
    }
}

impl Connect for Line {
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send + '_>> {
        Box::pin(self.open())
    }
}

/// One connection.
struct Wire {
    inner: Box<dyn Io>,
    /// How many bytes may still go up and down.
    up: usize,
    down: usize,
    is_hole: bool,
    latency: Duration,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.down == 0 || (self.up == 0 && !self.is_hole) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.up == 0 {
            return Poll::Pending;
        }
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(task));
            self.pause = None;
        }
        let mut piece = vec![0; buffer.remaining().min(self.down)];
        let mut piece = ReadBuf::new(&mut piece);
        std::task::ready!(Pin::new(&mut self.inner).poll_read(task, &mut piece))?;
        self.down -= piece.filled().len();
        buffer.put_slice(piece.filled());
        if !self.latency.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(self.latency)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.up == 0 {
            return Poll::Ready(if self.is_hole {
                Ok(bytes.len())
            } else {
                Err(io::ErrorKind::ConnectionReset.into())
            });
        }
        let some = bytes.len().min(self.up);
        let written =
            std::task::ready!(Pin::new(&mut self.inner).poll_write(task, &bytes[..some]))?;
        self.up -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}

/// The server's processes, one after the other, over one store.
pub(super) struct Machine {
    pub(super) host: Arc<Host>,
    store: Store,
    /// The only variable of its environment.
    database: Option<String>,
    process: Option<JoinHandle<()>>,
}

impl Machine {
    /// One that runs, with a tenant `acme`.
    pub(super) async fn new(database: Option<String>) -> Self {
        let mut machine = Self {
            host: Arc::new(Host::default()),
            store: Store::in_memory(),
            database,
            process: None,
        };
        machine.store.create_tenant("acme").await.unwrap();
        machine.start();
        machine
    }

    pub(super) fn start(&mut self) {
        let (connector, listener) = Listener::memory();
        let server = Server::new(self.store.clone(), Arc::new(|| 1_700_000_000_000));
        let database = self.database.clone();
        let server = Arc::new(server.with_variables(Arc::new(move |_| database.clone())));
        let serving = async move {
            let ended = serve(
                vec![listener],
                server,
                ServerOptions::default(),
                std::future::pending(),
            );
            ended.await.unwrap();
        };
        self.process = Some(tokio::spawn(serving));
        *self.host.0.lock().unwrap() = Some(connector);
    }

    /// It dies now and then for a while, and is there again in the end.
    pub(super) async fn falter(&mut self, random: &mut Random) {
        for _ in 0..random.below(3) {
            tokio::time::sleep(Duration::from_millis(random.below(25) as u64)).await;
            self.kill().await;
            tokio::time::sleep(Duration::from_millis(random.below(8) as u64)).await;
            self.start();
        }
    }

    /// Ends it in the middle of whatever it does.
    pub(super) async fn kill(&mut self) {
        *self.host.0.lock().unwrap() = None;
        if let Some(process) = self.process.take() {
            process.abort();
            let _ = process.await;
        }
    }
}

/// A workspace and who works in it.
struct Desk {
    root: PathBuf,
    name: &'static str,
    line: Arc<Line>,
    random: Random,
    ledger: Arc<Mutex<Ledger>>,
}

impl Desk {
    /// A run of the program. Clocks are wrong by up to an hour, and differ from run to run.
    fn session(&mut self, client: Client) -> Session {
        let remote = Remote::new(client, "acme".parse().unwrap(), "main".parse().unwrap());
        let context = Context {
            author: self.name.to_owned(),
            now: 1_700_000_000_000 + self.random.below(7_200_000) as u64,
            random: Arc::new(|| 0),
            listener: Arc::new(|_| {}),
        };
        Session::new(Workspace::open(&self.root).unwrap(), remote, context).unwrap()
    }

    async fn work(mut self) -> Self {
        for _ in 0..STEPS {
            tokio::time::sleep(Duration::from_millis(self.random.below(4) as u64)).await;
            if self.random.below(2) == 0 {
                self.edit().await;
            } else {
                Box::pin(self.command()).await;
            }
        }
        self.line.set(Trouble::None);
        is_free(&self.root).await;
        self
    }

    async fn edit(&mut self) {
        // A person who writes a file while it is replaced would not have seen what was in it.
        is_free(&self.root).await;
        let files = files(&self.root);
        let mut ledger = self.ledger.lock().unwrap();
        edit(&self.root, &files, &mut ledger, &mut self.random);
    }

    /// A command that may meet trouble, and may be dropped.
    async fn command(&mut self) {
        let trouble = Trouble::draw(&mut self.random);
        self.line.set(trouble);
        let steps = match self.random.below(4) {
            0 => self.random.below(60),
            _ => usize::MAX,
        };
        let kind = self.random.below(5);
        let session = self.session(self.line.impatient());
        let Some(done) = dropped_after(steps, Box::pin(run(&session, kind))).await else {
            return;
        };
        if let Err(error) = done {
            assert!(
                is_expected(&error),
                "{}: {trouble:?}: {error} ({error:?})",
                self.name
            );
        }
    }

    /// Syncs on a network that is whole; whether anything moved.
    async fn settle(&mut self) -> bool {
        let session = self.session(self.line.client(ClientOptions::default()));
        session.recover().await.unwrap();
        let plan = Box::pin(session.plan_sync(OnConflict::KeepBoth))
            .await
            .unwrap();
        let moves = !plan.pull.is_empty() || !plan.push.is_empty();
        match Box::pin(session.apply_sync(plan, None, &ANYTHING)).await {
            Ok(_) => moves,
            // What was dropped had been sent, and the server came to it only now.
            Err(error) if error.is_race() => true,
            Err(error) => panic!("{}: {error} ({error:?})", self.name),
        }
    }
}

async fn run(session: &Session, kind: usize) -> Result<(), Error> {
    session.recover().await?;
    match kind {
        0 => {
            let plan = session.plan_push(None).await?;
            session.apply_push(plan, None, &ANYTHING).await?;
        }
        1 => {
            let plan = session.plan_pull(None).await?;
            session.apply_pull(plan, &ANYTHING).await?;
        }
        _ => {
            let plan = Box::pin(session.plan_sync(OnConflict::KeepBoth)).await?;
            Box::pin(session.apply_sync(plan, None, &ANYTHING)).await?;
        }
    }
    Ok(())
}

/// Whether somebody was quicker, a person has to choose, what was dropped is still at it, or the network is away.
pub(super) fn is_expected(error: &Error) -> bool {
    matches!(error.class(), Class::Conflict | Class::Unavailable)
        || matches!(error, Error::Locked { .. })
}

/// Waits until what a dropped command does on a thread of its own has come to its end.
pub(super) async fn is_free(root: &Path) {
    loop {
        // Not there before the first command.
        let Ok(lock) = File::open(root.join(".sync/lock")) else {
            return;
        };
        if lock.try_lock().is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What comes of `work`, if it needs no more than so many steps; else it is dropped where it is.
pub(super) async fn dropped_after<T>(steps: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = steps;
    std::future::poll_fn(|task| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(task).map(Some)
    })
    .await
}

/// Lets everybody settle in turn until nothing moves for anybody.
pub(super) async fn come_to_rest<D>(desks: &mut [D], settle: impl AsyncFn(&mut D) -> bool) {
    let mut quiet = 0;
    for round in 0..ROUNDS * desks.len() {
        let who = round % desks.len();
        quiet = if settle(&mut desks[who]).await {
            0
        } else {
            quiet + 1
        };
        if quiet == desks.len() {
            return;
        }
    }
    panic!("they do not come to rest");
}

async fn simulate(dir: &Path, seed: u64) {
    let mut random = Random(seed);
    let mut machine = Machine::new(None).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let tenant: Name = "acme".parse().unwrap();
    let mut desks = Vec::new();
    for name in NAMES {
        let root = dir.join(name);
        fs::create_dir_all(&root).unwrap();
        let workspace = Workspace::init(&root, name, "https://tenant", &tenant).unwrap();
        fs::create_dir_all(workspace.tree()).unwrap();
        let line = Arc::new(Line::new(&machine.host, &mut random));
        desks.push(Desk {
            root,
            name,
            line,
            random: Random(seed.wrapping_mul(3).wrapping_add(desks.len() as u64)),
            ledger: Arc::clone(&ledger),
        });
    }
    fs::write(desks[0].root.join("services/shared.md"), text()).unwrap();
    assert!(desks[0].settle().await);

    let working: Vec<_> = desks
        .into_iter()
        .map(|desk| tokio::spawn(desk.work()))
        .collect();
    machine.falter(&mut random).await;
    let mut desks = Vec::new();
    for work in working {
        desks.push(work.await.unwrap());
    }
    come_to_rest(&mut desks, async |desk| desk.settle().await).await;
    let trees: Vec<_> = desks.iter().map(|desk| files(&desk.root)).collect();
    assert!(
        trees.iter().all(|tree| *tree == trees[0]),
        "the trees differ: {trees:#?}"
    );
    let all: String = trees[0].values().map(String::as_str).collect();
    let lost = ledger.lock().unwrap().lost(&all);
    assert!(lost.is_empty(), "lost {lost:?} of {:#?}", trees[0]);
    machine.kill().await;
}

#[test]
fn no_acknowledged_write_is_lost() {
    let asked = std::env::var("SYNC_SIMULATIONS").ok();
    let count = asked.map_or(SIMULATIONS, |count| count.parse().unwrap());
    run_seeds(count, 4, async |dir, seed| simulate(dir, seed).await);
}
