//! What a person sees: colours, changes, errors. Everything printed goes through here.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;
use sync_core::{ByteCount, Fault, TreePath};
use sync_engine::merge::Version;
pub(crate) use sync_engine::report::one_line;
use sync_engine::{ChangeKind, Conflict, Event, FileChange, Listener, Problem};

use crate::Outcome;
use crate::args::{Args, Color, Format, Verb};
use crate::env::Env;

/// Where and how results are printed.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Terminal {
    /// How results are printed.
    pub(crate) format: Format,
    /// Whether only errors are printed.
    pub(crate) quiet: bool,
    /// Whether progress bars are drawn on stderr.
    pub(crate) progress: bool,
    color: bool,
    error_color: bool,
    /// What is being done, as reports name it.
    operation: &'static str,
    output: Output,
}

/// Where what is printed goes.
#[derive(Debug, Clone)]
enum Output {
    /// To the streams of the process.
    Streams,
    /// To whoever called: stdout is theirs.
    Collected(Arc<Collected>),
}

/// What an operation tells its caller instead of printing it.
pub(crate) struct Collected {
    listener: Listener,
    result: Mutex<Option<Value>>,
}

impl Collected {
    /// Nothing yet; events go to `listener`.
    pub(crate) fn new(listener: Listener) -> Arc<Self> {
        Arc::new(Self {
            listener,
            result: Mutex::default(),
        })
    }

    /// The result that was told, as `--output json` prints it, once.
    pub(crate) fn take(&self) -> Option<Value> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        result.take()
    }

    fn keep(&self, value: &impl Serialize) {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        *result = serde_json::to_value(value).ok();
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

/// A colour of the terminal's own palette.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    Green,
    Yellow,
    Red,
    Dim,
    Bold,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

impl Terminal {
    /// Decides from the command line and the environment.
    pub(crate) fn new(args: &Args, env: &Env) -> Self {
        let plain = env.var("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env.var("TERM").is_some_and(|term| term == "dumb");
        let color = |terminal: bool| match args.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain,
        };
        Self {
            operation: args.verb.as_ref().map_or("help", Verb::as_str),
            // An agent reads stdout: what ends the server is for the person who reads its log.
            format: match args.verb {
                Some(Verb::Mcp(_)) => Format::Text,
                _ => args.output,
            },
            quiet: args.quiet || matches!(args.verb, Some(Verb::Mcp(_))),
            progress: env.stderr_terminal
                && !args.no_progress
                && !args.quiet
                && args.output == Format::Text,
            color: color(env.stdout_terminal) && args.output == Format::Text,
            error_color: color(env.stderr_terminal),
            output: Output::Streams,
        }
    }

    /// One that prints nothing to stdout: results are those of `--output json`, and `collected` takes them.
    pub(crate) fn collecting(operation: &'static str, collected: Arc<Collected>) -> Self {
        Self {
            format: Format::Json,
            quiet: true,
            progress: false,
            color: false,
            error_color: false,
            operation,
            output: Output::Collected(collected),
        }
    }

    /// What hears an operation's events instead of a progress bar.
    pub(crate) fn listener(&self) -> Option<Listener> {
        match &self.output {
            Output::Streams => None,
            Output::Collected(collected) => Some(Arc::clone(&collected.listener)),
        }
    }

    /// `text` in a colour, where colours are on.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        painted(self.color, paint, text)
    }

    /// Prints a line of text for a person; nothing where the format is for programs or only errors are wanted.
    pub(crate) fn line(&self, text: &str) {
        if self.format == Format::Text && !self.quiet {
            write_stdout(text);
        }
    }

    /// Prints the result for a program; nothing where the format is text.
    pub(crate) fn value(&self, value: &impl Serialize) {
        if let Output::Collected(collected) = &self.output {
            return collected.keep(value);
        }
        match self.format {
            Format::Text => {}
            Format::Json => write_json(|out| serde_json::to_writer_pretty(out, value)),
            Format::Ndjson => self.event(&Event::SyncComplete { report: value }),
        }
    }

    /// Prints a result that ended as `outcome`, because of `problem` where it was not as asked for.
    pub(crate) fn result(
        &self,
        value: &impl Serialize,
        outcome: Outcome,
        problem: Option<&Problem>,
    ) {
        match (outcome, problem) {
            (Outcome::Undecided | Outcome::Failed(_), Some(problem))
                if self.format == Format::Ndjson =>
            {
                self.event(&Event::SyncError {
                    problem: problem.clone(),
                    exit_code: outcome.exit_code(),
                    report: Some(value),
                });
            }
            _ => self.value(value),
        }
    }

    /// Prints the result of a run that did nothing, for whoever follows every event.
    pub(crate) fn quiet_result(&self, value: &impl Serialize) {
        if self.format == Format::Ndjson {
            self.value(value);
        }
    }

    /// Prints that something has happened, for a program; nothing where the format is text, or results are collected.
    pub(crate) fn event(&self, event: &impl Serialize) {
        if let Output::Collected(_) = self.output {
            return;
        }
        match self.format {
            Format::Text => {}
            Format::Json => write_json(|out| serde_json::to_writer_pretty(out, event)),
            Format::Ndjson => write_json(|out| serde_json::to_writer(out, event)),
        }
    }

    /// Prints that something has happened, for a program that follows every event.
    pub(crate) fn event_of_program(&self, event: &impl Serialize) {
        if self.format == Format::Ndjson {
            self.event(event);
        }
    }

    /// Prints an error with its whole chain and its hint to stderr.
    pub(crate) fn error(&self, error: &(impl Fault + ?Sized)) {
        let code = format!("error[{}]", error.code());
        let text = visible(&error.to_string());
        let mut lines = vec![format!(
            "{}: {text}",
            painted(self.error_color, Paint::Red, &code)
        )];
        lines.extend(
            causes(error)
                .into_iter()
                .map(|cause| format!("  because: {}", visible(&cause))),
        );
        if let Some(hint) = error.hint() {
            lines.push(format!(
                "{}: {hint}",
                painted(self.error_color, Paint::Bold, "hint")
            ));
        }
        write_stderr(&lines.join("\n"));
    }

    /// Prints what ended the command: for people on stderr, for programs as the result too.
    pub(crate) fn failure(&self, error: &impl Fault) {
        if self.format == Format::Text {
            return self.error(error);
        }
        let outcome = Outcome::Failed(error.class());
        let problem = Problem::from_fault(error);
        self.result(&failed(self.operation, error), outcome, Some(&problem));
    }

    /// Prints a remark to stderr, whatever the format: events say the same to programs.
    pub(crate) fn note(text: &str) {
        write_stderr(&visible(text));
    }

    /// Asks a person, who may not know: only what begins with a y is yes.
    pub(crate) fn ask(question: &str) -> bool {
        let mut stderr = io::stderr().lock();
        let asked = write!(stderr, "{} [y/N] ", visible(question)).and_then(|()| stderr.flush());
        let mut answer = String::new();
        asked.is_ok()
            && io::stdin().read_line(&mut answer).is_ok()
            && answer.trim_start().starts_with(['y', 'Y'])
    }

    /// Prints something that was left out, to stderr.
    pub(crate) fn problem(&self, problem: &Problem) {
        if self.format == Format::Text && !self.quiet {
            // A message that says where, as those of a line in a file do, says it once.
            let path = problem
                .path
                .as_ref()
                .filter(|path| !problem.message.contains(path.as_str()));
            let what = path.map_or(String::new(), |path| format!(" `{path}`"));
            let kind = if problem.code == "files/refused" {
                "left out"
            } else {
                "warning"
            };
            let mark = painted(self.error_color, Paint::Yellow, kind);
            write_stderr(&format!(
                "{mark}{what}: {} [{}]",
                problem.message, problem.code
            ));
        }
    }

    /// Prints a path that a person has to decide about, with what each side has.
    pub(crate) fn conflict(&self, conflict: &Conflict) {
        self.line(&format!(
            "  {} {}: {}",
            self.paint(Paint::Red, "!"),
            conflict.path,
            conflict.reason.as_str()
        ));
        let side = |name: &str, version: Option<&Version>| {
            let text = version.map_or_else(
                || "nothing".to_owned(),
                |version| {
                    let digest = version.digest.short();
                    format!("{} of {} ({digest})", version.kind, ByteCount(version.size))
                },
            );
            self.line(&format!("      {name:<8} {text}"));
        };
        side("here", conflict.ours.as_ref());
        side("tenant", conflict.theirs.as_ref());
        side("base", conflict.base.as_ref());
    }

    /// Prints the paths that differ, one a line, with sizes; those that were `merged` are marked.
    pub(crate) fn changes(&self, changes: &[FileChange], merged: &[TreePath]) {
        if self.format != Format::Text || self.quiet {
            return;
        }
        let width = changes
            .iter()
            .map(|change| change.path.as_str().chars().count())
            .max()
            .unwrap_or(0)
            .min(60);
        for change in changes {
            let (mark, paint) = match change.kind {
                ChangeKind::Added => ("+", Paint::Green),
                ChangeKind::Removed => ("-", Paint::Red),
                ChangeKind::Modified | ChangeKind::Mode | ChangeKind::Type => ("~", Paint::Yellow),
            };
            let note = match change.kind {
                ChangeKind::Mode => "mode".to_owned(),
                ChangeKind::Removed => String::new(),
                _ if merged.contains(&change.path) => {
                    format!("{}  merged", ByteCount(change.size))
                }
                _ => ByteCount(change.size).to_string(),
            };
            let line = format!(
                "  {} {:width$}  {note}",
                self.paint(paint, mark),
                change.path.as_str()
            );
            self.line(line.trim_end());
        }
    }
}

/// What a program is told of an operation that failed.
pub(crate) fn failed(operation: &str, error: &impl Fault) -> Value {
    serde_json::json!({
        "operation": operation,
        "success": false,
        "items_synced": 0,
        "items_skipped": 0,
        "snapshot": null,
        "state": {"kind": "failed"},
        "errors": [Problem::from_fault(error)],
        "exit_code": error.class().exit_code(),
    })
}

fn painted(on: bool, paint: Paint, text: &str) -> String {
    if on {
        format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code())
    } else {
        text.to_owned()
    }
}

fn causes(error: &(impl StdError + ?Sized)) -> Vec<String> {
    let mut last = error.to_string();
    let mut found = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat their cause's text in their own.
        if !last.contains(&text) {
            found.push(text.clone());
        }
        last = text;
        cause = error.source();
    }
    found
}

/// A closed pipe (`sync-cli log | head`) ends the output, not the work.
fn write_stdout(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Written as it is encoded: a report may list a hundred thousand changes.
fn write_json(
    encode: impl FnOnce(&mut io::BufWriter<io::StdoutLock<'static>>) -> serde_json::Result<()>,
) {
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    if encode(&mut out).is_ok() {
        let _ = writeln!(out).and_then(|()| out.flush());
    }
}

fn write_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `0.04 s`.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
}

/// `2023-11-14 22:13:20` in the machine's time zone.
pub(crate) fn moment(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| "at an impossible time".to_owned(),
        |time| {
            time.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

/// Text that may quote a peer: control characters other than line ends must not reach the terminal.
fn visible(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}
