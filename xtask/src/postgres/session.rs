//! `psql` that stays: statements one after the other in one session, so that a transaction can be left open between them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use snafu::{OptionExt as _, ResultExt as _};

use crate::error::{IoSnafu, Result, UnexpectedSnafu};

/// What ends the answer to a statement.
const END: &str = "--end-of-answer--";

/// One session with a database; it ends, with its transaction, when this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// Starts `psql` by a command that says where to connect.
    pub(super) fn open(mut command: Command) -> Result<Self> {
        let context = || IoSnafu {
            action: "start psql",
        };
        command
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["--set", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|_| context())?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.context(UnexpectedSnafu {
            what: "psql has no pipes",
        })?;
        let mut session = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        session.ask("SET client_min_messages = error")?;
        Ok(session)
    }

    /// Runs statements and returns their rows as text.
    ///
    /// # Errors
    ///
    /// What the database says. The session has ended then.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<String> {
        // Where psql has ended already, its last words are the reason.
        let _ = writeln!(self.input, "{sql}\n;\n\\echo {END}").and_then(|()| self.input.flush());
        let mut answer = String::new();
        loop {
            let from = answer.len();
            let read = self.output.read_line(&mut answer).context(IoSnafu {
                action: "read what psql says",
            })?;
            if answer[from..].trim_end() == END {
                answer.truncate(from);
                return Ok(answer.trim_end().to_owned());
            }
            if read == 0 {
                return UnexpectedSnafu {
                    what: format!("`{sql}`: {}", self.last_words()),
                }
                .fail();
            }
        }
    }

    fn last_words(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            // Half of a message says more than none.
            drop(errors.read_to_string(&mut said));
        }
        said.trim().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left of it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
