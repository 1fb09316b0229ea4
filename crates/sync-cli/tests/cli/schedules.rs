//! Two workspaces and one tenant, a thousand seeded schedules of edits and commands, and no update lost.
//!
//! A command is planned in one step and applied in another, and anything may happen between the two.
//! Pushes get lost on their way, and their answers on the way back.
//! Every edit writes a token of its own; when both workspaces have synced until nothing moves, their trees are equal, and every token is there unless somebody removed a file in which it was seen.
//! A failure prints its seed: `SYNC_SEED=17 cargo test -p sync-cli --test cli schedules` runs that schedule alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::{Method, Request, Response, StatusCode};
use sync_core::{Class, Fault, Name};
use sync_engine::{
    Context, Error, Limits, MaxDelete, OnConflict, PullPlan, PushPlan, Remote, Session, SyncPlan,
    Workspace,
};
use sync_server::Server;
use sync_store::Store;
use sync_transport::{
    Body, Client, ClientOptions, Endpoint, Handler, Listener, Peer, ServerOptions, serve,
};
use tokio::sync::oneshot;

const SCHEDULES: u64 = 1_000;
/// What happens in one schedule before both sides come to rest.
const STEPS: usize = 14;
/// Syncs that may be needed until nothing moves: each side brings its own, then what the other merged.
const ROUNDS: usize = 8;
pub(super) const ANYTHING: Limits = Limits {
    max_delete: MaxDelete::Files(u64::MAX),
    yes: true,
};

/// `SplitMix64`.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % bound as u64).unwrap()
    }
}

/// What becomes of the pushes that reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// They are done, and nobody is told.
    AnswersAreLost,
    /// They do not arrive.
    PushesAreLost,
}

impl Weather {
    fn draw(random: &mut Random) -> Self {
        match random.below(6) {
            0 => Self::AnswersAreLost,
            1 => Self::PushesAreLost,
            _ => Self::Fair,
        }
    }

    /// Passes a request on, as far as this weather lets it.
    async fn pass(self, server: &Server, request: Request<Body>, peer: Peer) -> Response<Body> {
        let is_push = request.method() == Method::POST && request.uri().path().contains("/heads/");
        let mut lost = Response::new(Body::empty());
        *lost.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        if is_push && self == Self::PushesAreLost {
            return lost;
        }
        let answer = server.handle(request, peer).await;
        if is_push && self == Self::AnswersAreLost {
            lost
        } else {
            answer
        }
    }
}

/// A command between its plan and its application.
enum Planned {
    Push(Box<PushPlan>),
    Pull(Box<PullPlan>),
    Sync(Box<SyncPlan>),
}

/// One person's workspace.
struct Desk {
    session: Session,
    planned: Option<Planned>,
}

impl Desk {
    fn new(root: &Path, name: &str, client: Client) -> Self {
        let tenant: Name = "acme".parse().unwrap();
        fs::create_dir_all(root).unwrap();
        let workspace = Workspace::init(root, name, "https://tenant", &tenant).unwrap();
        fs::create_dir_all(workspace.tree()).unwrap();
        let context = Context {
            author: name.to_owned(),
            now: 1_700_000_000_000,
            random: Arc::new(|| 0),
            listener: Arc::new(|_| {}),
        };
        let remote = Remote::new(client, tenant, "main".parse().unwrap());
        Self {
            session: Session::new(workspace, remote, context).unwrap(),
            planned: None,
        }
    }

    async fn plan(&mut self, random: &mut Random) -> Result<(), Error> {
        self.session.recover().await?;
        let session = &self.session;
        self.planned = Some(match random.below(4) {
            0 => Planned::Push(Box::new(session.plan_push(None).await?)),
            1 => Planned::Pull(Box::new(session.plan_pull(None).await?)),
            _ => Planned::Sync(Box::new(
                Box::pin(session.plan_sync(OnConflict::KeepBoth)).await?,
            )),
        });
        Ok(())
    }

    async fn apply(&self, planned: Planned) -> Result<(), Error> {
        let session = &self.session;
        match planned {
            Planned::Push(plan) => {
                Box::pin(session.apply_push(*plan, None, &ANYTHING)).await?;
            }
            Planned::Pull(plan) => {
                Box::pin(session.apply_pull(*plan, &ANYTHING)).await?;
            }
            Planned::Sync(plan) => {
                Box::pin(session.apply_sync(*plan, None, &ANYTHING)).await?;
            }
        }
        Ok(())
    }

    /// Syncs; whether anything moved.
    async fn settle(&self) -> Result<bool, Error> {
        let plan = Box::pin(self.session.plan_sync(OnConflict::KeepBoth)).await?;
        let moves = !plan.pull.is_empty() || !plan.push.is_empty();
        Box::pin(self.session.apply_sync(plan, None, &ANYTHING)).await?;
        Ok(moves)
    }
}

/// The names and texts of the files of a workspace.
pub(super) fn files(root: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root.join("services")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        files.insert(name, fs::read_to_string(entry.path()).unwrap());
    }
    files
}

/// What the people of a schedule wrote and took away.
#[derive(Default)]
pub(super) struct Ledger {
    written: BTreeSet<String>,
    /// What was in a file when somebody removed or replaced it knowingly.
    given_up: BTreeSet<String>,
}

impl Ledger {
    fn token(&mut self) -> String {
        let token = format!("token-{:03}", self.written.len());
        self.written.insert(token.clone());
        token
    }

    fn give_up(&mut self, text: &str) {
        let seen = text.lines().filter(|line| line.starts_with("token-"));
        self.given_up.extend(seen.map(str::to_owned));
    }

    /// What should be among `all` texts, and is not.
    pub(super) fn lost(&self, all: &str) -> Vec<String> {
        let kept = self.written.difference(&self.given_up);
        kept.filter(|token| !all.contains(token.as_str()))
            .cloned()
            .collect()
    }
}

/// A text whose lines are far enough apart for edits of two people to merge.
pub(super) fn text() -> String {
    (0..8).fold(String::new(), |text, number| {
        text + &format!("\n# part {number}\n\n")
    })
}

/// One edit by one person.
pub(super) fn edit(
    root: &Path,
    files: &BTreeMap<String, String>,
    ledger: &mut Ledger,
    random: &mut Random,
) {
    let services = root.join("services");
    let names: Vec<&String> = files.keys().collect();
    let chosen = (!names.is_empty()).then(|| names[random.below(names.len().max(1))]);
    match (random.below(10), chosen) {
        (0 | 1, _) | (_, None) => {
            let token = ledger.token();
            fs::write(services.join(format!("new-{token}.md")), token + "\n").unwrap();
        }
        (2, Some(name)) => {
            ledger.give_up(&files[name]);
            fs::remove_file(services.join(name)).unwrap();
        }
        (3, Some(name)) => {
            let to = format!("moved-{}.md", random.below(4));
            if let Some(replaced) = files.get(&to)
                && to != *name
            {
                ledger.give_up(replaced);
            }
            fs::rename(services.join(name), services.join(to)).unwrap();
        }
        (_, Some(name)) => {
            let token = ledger.token();
            let part = format!("# part {}\n", random.below(8));
            let old = &files[name];
            let new = if old.contains(&part) {
                old.replacen(&part, &format!("{part}{token}\n"), 1)
            } else {
                format!("{old}{token}\n")
            };
            fs::write(services.join(name), new).unwrap();
        }
    }
}

/// What may come of a command while others are at work: somebody else was quicker, a person has to choose, or the network is away.
#[track_caller]
fn expect_race(result: Result<(), Error>, weather: Weather, what: &str) {
    if let Err(error) = result {
        let class = error.class();
        let expected =
            class == Class::Conflict || class == Class::Unavailable && weather != Weather::Fair;
        assert!(expected, "{what}: {error} ({error:?})");
    }
}

async fn schedule(dir: &Path, seed: u64) {
    let store = Store::in_memory();
    store.create_tenant("acme").await.unwrap();
    let (connector, listener) = Listener::memory();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Arc::new(Server::new(store, Arc::new(|| 1_700_000_000_000)));
    let weather = Arc::new(AtomicU8::new(Weather::Fair as u8));
    let sky = Arc::clone(&weather);
    let handler = Arc::new(move |request, peer| {
        let server = Arc::clone(&server);
        let now = match sky.load(Ordering::Relaxed) {
            1 => Weather::AnswersAreLost,
            2 => Weather::PushesAreLost,
            _ => Weather::Fair,
        };
        async move { now.pass(&server, request, peer).await }
    });
    let serving = tokio::spawn(async move {
        let until = async {
            let _ = stopped.await;
        };
        serve(vec![listener], handler, ServerOptions::default(), until).await
    });
    let roots = [dir.join("ada"), dir.join("ben")];
    let mut desks = ["ada", "ben"].map(|name| {
        let client = Client::new(
            Endpoint::Memory(connector.clone()),
            None,
            None,
            ClientOptions::default(),
        );
        Desk::new(&dir.join(name), name, client)
    });
    let mut random = Random(seed);
    let mut ledger = Ledger::default();
    for number in 0..2 {
        fs::write(
            roots[0].join(format!("services/shared-{number}.md")),
            text(),
        )
        .unwrap();
    }
    assert!(desks[0].settle().await.unwrap());
    for _ in 0..STEPS {
        let who = random.below(2);
        let desk = &mut desks[who];
        match (random.below(3), desk.planned.take()) {
            (0, planned) => {
                desk.planned = planned;
                let files = files(&roots[who]);
                edit(&roots[who], &files, &mut ledger, &mut random);
            }
            (_, Some(planned)) => {
                let now = Weather::draw(&mut random);
                weather.store(now as u8, Ordering::Relaxed);
                let applied = desk.apply(planned).await;
                weather.store(Weather::Fair as u8, Ordering::Relaxed);
                expect_race(applied, now, "apply");
            }
            (_, None) => expect_race(desk.plan(&mut random).await, Weather::Fair, "plan"),
        }
    }
    // A plan that is never applied holds nothing up.
    for desk in &mut desks {
        desk.planned = None;
    }
    let mut quiet = 0;
    for round in 0.. {
        assert!(round < ROUNDS, "they do not come to rest");
        if quiet == 2 {
            break;
        }
        let moved = desks[round % 2].settle().await.unwrap();
        quiet = if moved { 0 } else { quiet + 1 };
    }
    let trees = [0, 1].map(|who| files(&roots[who]));
    assert_eq!(trees[0], trees[1], "the trees differ");
    let all: String = trees[0].values().map(String::as_str).collect();
    let lost = ledger.lost(&all);
    assert!(lost.is_empty(), "lost {lost:?} of {:#?}", trees[0]);
    drop(desks);
    let _ = stop.send(());
    serving.await.unwrap().unwrap();
}

/// One seed in a directory of its own.
fn run(seed: u64, one: &impl AsyncFn(&Path, u64)) {
    // A thousand stores that are synced to a disk would take a minute; nothing here cuts the power.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(one(dir.path(), seed));
}

/// Runs seeds from 0 on so many threads, or that of `SYNC_SEED` alone, and says which failed.
pub(super) fn run_seeds(
    count: u64,
    workers: u64,
    one: impl AsyncFn(&Path, u64) + Copy + Send + 'static,
) {
    if let Ok(seed) = std::env::var("SYNC_SEED") {
        return run(seed.parse().unwrap(), &one);
    }
    let workers: Vec<_> = (0..workers)
        .map(|worker| {
            std::thread::spawn(move || {
                let seeds = (0..count).filter(|seed| seed % workers == worker);
                let failed = |seed: &u64| {
                    let one = AssertUnwindSafe(&one);
                    std::panic::catch_unwind(|| run(*seed, *one)).is_err()
                };
                seeds.filter(failed).collect::<Vec<u64>>()
            })
        })
        .collect();
    let failed: Vec<u64> = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
        .collect();
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}

#[test]
fn no_update_is_lost() {
    run_seeds(SCHEDULES, 4, async |dir, seed| schedule(dir, seed).await);
}
