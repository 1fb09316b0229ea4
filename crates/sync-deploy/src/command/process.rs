//! Commands as processes of this machine.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use snafu::ResultExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use super::{Command, CommandRunner, Listener, Ran};
use crate::Error;
use crate::error::{EndedSnafu, StartSnafu, TimedOutSnafu};

/// So many of the last lines are kept for an error.
const LINES: usize = 20;
/// A longer line is told in parts.
const MAX_LINE: usize = 4096;
/// How long what a command has started may go on holding its output once it has ended itself.
const LINGER: Duration = Duration::from_secs(2);

/// Runs commands as processes, each in a group of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessRunner;

/// Ends a group of processes with it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Where nobody of it is left there is nobody to end.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[async_trait]
impl CommandRunner for ProcessRunner {
    async fn run(&self, command: &Command, tell: &Listener<'_>) -> Result<Ran, Error> {
        let began = Instant::now();
        let mut child = start(command).with_context(|_| StartSnafu {
            command: command.to_string(),
        })?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Group(pid.and_then(Pid::from_raw));
        let mut heard = Heard::new(command, tell);
        let ended = tokio::time::timeout(command.limit, heard.listen(&mut child)).await;
        // Whoever it has left behind goes with it.
        drop(group);
        let lines: Vec<String> = std::mem::take(&mut heard.lines).into();
        let Ok(status) = ended else {
            let _ = child.wait().await;
            return TimedOutSnafu {
                command: command.to_string(),
                limit: command.limit,
                lines,
            }
            .fail();
        };
        let status = status.with_context(|_| StartSnafu {
            command: command.to_string(),
        })?;
        if !status.success() {
            return EndedSnafu {
                command: command.to_string(),
                status,
                lines,
            }
            .fail();
        }
        Ok(Ran {
            stdout: heard.stdout.into(),
            status,
            took: began.elapsed(),
        })
    }
}

fn start(command: &Command) -> std::io::Result<Child> {
    let mut process = tokio::process::Command::new(&command.program);
    process
        .args(&command.args)
        .envs(command.env.iter().map(|(key, value)| (key, value)))
        .stdin(match command.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(dir) = &command.dir {
        process.current_dir(dir);
    }
    process.spawn()
}

/// What a command writes.
struct Heard<'c> {
    command: &'c Command,
    tell: &'c Listener<'c>,
    lines: VecDeque<String>,
    stdout: VecDeque<u8>,
    /// What has come of a line of each of its outputs.
    partial: [Vec<u8>; 2],
}

impl<'c> Heard<'c> {
    fn new(command: &'c Command, tell: &'c Listener<'c>) -> Self {
        Self {
            command,
            tell,
            lines: VecDeque::new(),
            stdout: VecDeque::new(),
            partial: [Vec::new(), Vec::new()],
        }
    }

    /// Listens until it has ended.
    async fn listen(&mut self, child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
        let (stdin, mut stdout, mut stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = self.command.stdin.clone().unwrap_or_default();
        let writing = async move {
            if let Some(mut stdin) = stdin {
                // A command that does not want it says so itself.
                let _ = stdin.write_all(&input).await;
            }
        };
        let mut writing = std::pin::pin!(writing);
        let (mut out, mut err) = (vec![0; 8192], vec![0; 8192]);
        let (mut is_written, mut ended) = (false, None);
        loop {
            let lingers = async {
                match ended {
                    Some(_) => tokio::time::sleep(LINGER).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut writing, if !is_written => is_written = true,
                read = next(&mut stdout, &mut out), if stdout.is_some() => match read {
                    0 => stdout = None,
                    read => self.take(0, &out[..read]),
                },
                read = next(&mut stderr, &mut err), if stderr.is_some() => match read {
                    0 => stderr = None,
                    read => self.take(1, &err[..read]),
                },
                status = child.wait(), if ended.is_none() => ended = Some(status?),
                () = lingers => (stdout, stderr) = (None, None),
            }
            if let (None, None, Some(status)) = (&stdout, &stderr, ended) {
                self.end();
                return Ok(status);
            }
        }
    }

    fn take(&mut self, output: usize, bytes: &[u8]) {
        if output == 0 {
            self.stdout.extend(bytes);
            let over = self.stdout.len().saturating_sub(Ran::MAX_BYTES);
            self.stdout.drain(..over);
        }
        for &byte in bytes {
            // Programs that count upwards on a terminal end their lines so.
            let is_end = matches!(byte, b'\n' | b'\r');
            if !is_end {
                self.partial[output].push(byte);
            }
            if is_end || self.partial[output].len() >= MAX_LINE {
                self.line(output);
            }
        }
    }

    fn line(&mut self, output: usize) {
        let bytes = std::mem::take(&mut self.partial[output]);
        if bytes.is_empty() {
            return;
        }
        let line = self.command.masked(&String::from_utf8_lossy(&bytes));
        (self.tell)(&line);
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn end(&mut self) {
        self.line(0);
        self.line(1);
    }
}

/// The next bytes of an output; none where it has ended.
async fn next(output: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match output {
        Some(output) => output.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use sync_core::Fault;

    fn shell(script: &str) -> Command {
        Command::new("sh", ["-c", script])
    }

    async fn run(command: &Command) -> (Result<Ran, Error>, Vec<String>) {
        let told = Mutex::new(Vec::new());
        let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
        let ran = ProcessRunner.run(command, &tell).await;
        (ran, told.into_inner().unwrap())
    }

    #[tokio::test]
    async fn what_it_writes_is_told_and_kept() {
        let command = shell("cat; echo one; echo two >&2; printf three").secret_input("hunter2\n");
        let (ran, mut told) = run(&command).await;
        let ran = ran.unwrap();
        assert_eq!(ran.stdout, b"hunter2\none\nthree");
        told.sort();
        assert_eq!(told, ["***", "one", "three", "two"]);
    }

    #[tokio::test]
    async fn an_error_has_the_last_lines_and_no_secret() {
        let command = shell("for i in $(seq 100); do echo $i; done; echo $TOKEN; exit 3");
        let (ran, _) = run(&command.secret_env("TOKEN", "hunter2")).await;
        let error = ran.unwrap_err();
        let Error::Ended { lines, status, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(status.code(), Some(3));
        assert_eq!(lines.len(), LINES);
        assert!(lines.contains(&"***".to_owned()) && lines.contains(&"100".to_owned()));
        assert!(!format!("{error:?} {error}").contains("hunter2"));
        let (ran, _) = run(&Command::new("no-such-program", ["a"])).await;
        assert_eq!(ran.unwrap_err().code(), "deploy/start");
    }

    /// Whether a process that a script wrote the number of still runs.
    fn runs(file: &std::path::Path) -> bool {
        let pid = std::fs::read_to_string(file).unwrap();
        std::path::Path::new("/proc").join(pid.trim()).exists()
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{}; wait", file.display());
        let command = shell(&script).within(Duration::from_millis(300));
        let (ran, _) = run(&command).await;
        assert_eq!(ran.unwrap_err().code(), "deploy/timed-out");
        while runs(&file) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn dropped_it_ends_and_so_does_what_lingers() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{}; echo begun; wait", file.display());
        let command = shell(&script);
        let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |line: &str| drop(begun.send(line.to_owned()));
        tokio::select! {
            ran = ProcessRunner.run(&command, &tell) => panic!("{ran:?}"),
            line = has_begun.recv() => assert_eq!(line.as_deref(), Some("begun")),
        }
        while runs(&file) {
            tokio::task::yield_now().await;
        }
        // It has ended, and something that it started holds its output.
        let script = format!("sleep 1000 & echo $! >{}; echo done", file.display());
        let (ran, told) = run(&shell(&script)).await;
        assert_eq!(
            (ran.unwrap().line(), told),
            ("done".to_owned(), vec!["done".to_owned()])
        );
        while runs(&file) {
            tokio::task::yield_now().await;
        }
    }
}
