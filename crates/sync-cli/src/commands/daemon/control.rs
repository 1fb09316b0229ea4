//! How a daemon is talked to: a socket that only its user may open, a line of JSON each way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snafu::ResultExt;
use sync_engine::event::Target;
use sync_engine::jobs::Job;
use sync_engine::{SyncManager, Workspace};
use sync_transport::PrivateSocket;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::Place;
use crate::args::DaemonVerb;
use crate::env::Env;
use crate::error::{DaemonSilentSnafu, JobsAloneSnafu, NoDaemonSnafu};
use crate::terminal::{Terminal, moment, one_line};
use crate::{Error, Outcome};

/// Below the private directory.
const SOCKET: &str = "daemon.sock";
/// The path of a socket has a hundred bytes or so; a longer one goes through the descriptor of its directory.
const LONGEST_PATH: usize = 90;
/// A longer question is none.
const MAX_LINE: u64 = 4096;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a daemon may take to end: a job goes on for ten seconds.
const END: Duration = Duration::from_secs(15);

/// What a daemon can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Status,
    Pause,
    Resume,
    Kick,
    Stop,
}

/// A question to a daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    command: Command,
}

/// What a daemon is, for those who talk to it.
pub(super) struct Control {
    pub(super) manager: Option<SyncManager>,
    pub(super) targets: BTreeSet<Target>,
    /// What it was to keep in sync as well and cannot, and why.
    pub(super) left_out: BTreeMap<Target, String>,
    pub(super) jobs: Vec<Job>,
    /// When it was started, in milliseconds since 1970-01-01T00:00:00Z.
    pub(super) started: u64,
    pub(super) stop: watch::Sender<bool>,
}

impl Control {
    /// What it is doing.
    fn status(&self) -> Value {
        let now = Env::now();
        let scheduled = self.jobs.iter().filter_map(|job| {
            let schedule = job.schedule.as_ref()?;
            Some(json!({
                "name": job.name, "schedule": schedule.to_string(), "next": schedule.next(now),
            }))
        });
        json!({
            "process": std::process::id(),
            "started": self.started,
            "targets": self.targets,
            "left_out": self.left_out,
            "sync": self.manager.as_ref().map(SyncManager::status),
            "jobs": scheduled.collect::<Vec<_>>(),
        })
    }

    /// Does what it is told, and answers; a stop is left to whoever has said the answer.
    fn answer(&self, line: &str) -> (Option<Command>, Value) {
        let question: Question = match serde_json::from_str(line) {
            Ok(question) => question,
            Err(error) => {
                return (None, json!({"ok": false, "message": error.to_string()}));
            }
        };
        match (question.command, &self.manager) {
            (Command::Pause, Some(manager)) => manager.pause(),
            (Command::Resume, Some(manager)) => manager.resume(),
            (Command::Kick, Some(manager)) => manager.kick(),
            (Command::Status | Command::Stop, _) | (_, None) => {}
        }
        let answer = json!({"ok": true, "daemon": self.status()});
        (Some(question.command), answer)
    }
}

/// Where a daemon listens.
pub(super) struct Socket {
    socket: PrivateSocket,
    /// The path of the socket goes through it.
    _directory: Option<File>,
}

impl Socket {
    /// Listens in the workspace, whose daemon this is.
    pub(super) async fn bind(workspace: &Workspace) -> Result<Self, Error> {
        let (path, directory) = address(&workspace.private()).context(DaemonSilentSnafu)?;
        Ok(Self {
            socket: PrivateSocket::bind(path).await?,
            _directory: directory,
        })
    }
}

/// Answers everybody who asks, until nobody waits for it any more.
pub(super) async fn serve(socket: Socket, control: Arc<Control>) {
    loop {
        match socket.socket.accept().await {
            Ok(stream) => {
                tokio::spawn(converse(stream, Arc::clone(&control)));
            }
            // Out of descriptors, say: others will be free.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers line by line. Whoever said stop keeps the connection until the process has ended, and knows by its end.
async fn converse(mut stream: UnixStream, control: Arc<Control>) {
    let (reading, mut writing) = stream.split();
    let mut reading = BufReader::new(reading);
    loop {
        let mut line = String::new();
        let mut bounded = (&mut reading).take(MAX_LINE);
        match timeout(PATIENCE, bounded.read_line(&mut line)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
        let (command, answer) = control.answer(&line);
        let mut answer = answer.to_string();
        answer.push('\n');
        let said = timeout(PATIENCE, writing.write_all(answer.as_bytes())).await;
        if !matches!(said, Ok(Ok(()))) {
            break;
        }
        if command == Some(Command::Stop) {
            let _ = control.stop.send(true);
            drop(control);
            return std::future::pending().await;
        }
    }
}

/// The path of the socket, and the directory that it goes through where it would be too long.
fn address(private: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = private.join(SOCKET);
    let descriptors = Path::new("/proc/self/fd");
    if path.as_os_str().len() <= LONGEST_PATH || !descriptors.exists() {
        return Ok((path, None));
    }
    let directory = File::open(private)?;
    let path = descriptors
        .join(directory.as_raw_fd().to_string())
        .join(SOCKET);
    Ok((path, Some(directory)))
}

/// Talks to the daemon of the workspace.
pub(super) async fn ask(place: &Place<'_>, verb: &DaemonVerb) -> Result<Outcome, Error> {
    let command = match verb {
        DaemonVerb::Status(_) => Command::Status,
        DaemonVerb::Pause(_) => Command::Pause,
        DaemonVerb::Resume(_) => Command::Resume,
        DaemonVerb::Kick(_) => Command::Kick,
        DaemonVerb::Stop(_) => Command::Stop,
    };
    let workspace = place.workspace()?;
    let Ok((path, _directory)) = address(&workspace.private()) else {
        return NoDaemonSnafu.fail();
    };
    // Nobody there, or a socket that a daemon left when it was killed.
    let Ok(mut stream) = UnixStream::connect(&path).await else {
        return NoDaemonSnafu.fail();
    };
    let answer = exchange(&mut stream, command)
        .await
        .context(DaemonSilentSnafu)?;
    let daemon = &answer["daemon"];
    if command == Command::Stop {
        let mut rest = Vec::new();
        let ended = timeout(END, stream.read_to_end(&mut rest)).await;
        let ended = ended.map_err(io::Error::from);
        ended.map(drop).context(DaemonSilentSnafu)?;
    } else if command != Command::Status && daemon["sync"].is_null() {
        return JobsAloneSnafu.fail();
    }
    match command {
        Command::Status => show(&place.terminal, daemon),
        Command::Stop => place.terminal.line("stopped"),
        Command::Pause => place
            .terminal
            .line("paused, once a run that is under way has ended"),
        Command::Resume => place.terminal.line("resumed"),
        Command::Kick => place.terminal.line("kicked"),
    }
    let operation = format!("daemon {}", json!(command).as_str().unwrap_or_default());
    place
        .terminal
        .value(&json!({"operation": operation, "success": true, "daemon": daemon}));
    Ok(Outcome::Done)
}

/// Says one thing, and gives the answer.
async fn exchange(stream: &mut UnixStream, command: Command) -> io::Result<Value> {
    let mut line = json!(Question { command }).to_string();
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    let mut reading = BufReader::new(stream);
    timeout(PATIENCE, reading.read_line(&mut answer)).await??;
    let answer: Value = serde_json::from_str(&answer)?;
    if answer["ok"] == true {
        return Ok(answer);
    }
    let message = answer["message"].as_str().unwrap_or("no answer");
    Err(io::Error::other(message.to_owned()))
}

/// Shows people what a daemon is doing.
fn show(terminal: &Terminal, daemon: &Value) {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    terminal.line(&format!(
        "daemon    process {}, since {}",
        number(&daemon["process"]),
        moment(number(&daemon["started"]))
    ));
    let sync = &daemon["sync"];
    if let Some(state) = sync["state"].as_str() {
        let targets = daemon["targets"].as_array().into_iter().flatten();
        let targets: Vec<&str> = targets.filter_map(Value::as_str).collect();
        let next = sync["next"].as_u64().map(moment);
        let next = next.map_or_else(String::new, |next| format!(", next {next}"));
        terminal.line(&format!("{:<9} {state}{next}", targets.join(", ")));
        let stats = &sync["stats"];
        let last = sync["last_sync"].as_u64();
        let lag = stats["lag_ms"].as_u64();
        terminal.line(&format!(
            "          last sync {}, {} synced in {} runs, {} failed, {} conflicts{}",
            last.map_or_else(|| "never".to_owned(), moment),
            number(&stats["applied"]),
            number(&stats["runs"]),
            number(&stats["failures"]),
            number(&stats["conflicts"]),
            lag.map_or_else(String::new, |lag| format!(", lag {lag} ms")),
        ));
        let error = &sync["last_error"];
        if let Some(message) = error["message"].as_str() {
            let code = error["code"].as_str().unwrap_or_default();
            terminal.line(&format!("          {} [{code}]", one_line(message)));
        }
    }
    for (target, reason) in daemon["left_out"].as_object().into_iter().flatten() {
        let reason = reason.as_str().unwrap_or_default();
        terminal.line(&format!("{target:<9} left out: {}", one_line(reason)));
    }
    for job in daemon["jobs"].as_array().into_iter().flatten() {
        let name = job["name"].as_str().unwrap_or_default();
        let next = job["next"].as_u64();
        terminal.line(&format!(
            "job       {name}  next {}",
            next.map_or_else(|| "never".to_owned(), moment)
        ));
    }
}
