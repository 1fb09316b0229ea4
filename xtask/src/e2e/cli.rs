//! `sync-cli` as a person or a pipeline calls it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// `sync-cli` with the workspace and the token that it is used with.
#[derive(Debug, Clone)]
pub(crate) struct Cli {
    program: PathBuf,
    /// Given as `-C`.
    workspace: Option<PathBuf>,
    token: Option<String>,
    /// Where its home is, so that no credentials of this machine are used.
    home: PathBuf,
}

/// How one call ended, and all it said.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What was called.
    pub(crate) call: String,
    /// The exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    /// What it printed as its result.
    pub(crate) stdout: String,
    /// What it printed for people.
    pub(crate) stderr: String,
}

impl Cli {
    /// Without a workspace or a token.
    pub(crate) fn new(program: &Path, home: &Path) -> Self {
        Self {
            program: program.to_owned(),
            workspace: None,
            token: None,
            home: home.to_owned(),
        }
    }

    /// In a workspace.
    pub(crate) fn within(mut self, workspace: &Path) -> Self {
        self.workspace = Some(workspace.to_owned());
        self
    }

    /// With a token in its environment.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The command for a verb, with its result as JSON.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(workspace) = &self.workspace {
            command.arg("-C").arg(workspace);
        }
        command
            .args(["--output", "json"])
            .args(arguments)
            .env("HOME", &self.home)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("SYNC_TOKEN")
            .stdin(Stdio::null());
        if let Some(token) = &self.token {
            command.env("SYNC_TOKEN", token);
        }
        command
    }

    /// Calls it and waits.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub(crate) fn call(&self, arguments: &[&str]) -> Answer {
        let result = self.command(arguments).output();
        let output = match result {
            Ok(output) => output,
            Err(error) => panic!("could not start {}: {error}", self.program.display()),
        };
        Answer {
            call: arguments.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Answer {
    /// Demands an exit code; everything that was said is shown when it is another one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "`sync-cli {}` exited with {}, not {code}\n{}{}",
            self.call, self.code, self.stdout, self.stderr
        );
        self
    }

    /// Demands that it was done.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// Demands that a person reads this somewhere.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "`sync-cli {}` does not say `{text}`\n{}{}",
            self.call,
            self.stdout,
            self.stderr
        );
        self
    }

    /// The result.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!(
                "`sync-cli {}` did not print one JSON object: {error}\n{}{}",
                self.call, self.stdout, self.stderr
            ),
        }
    }

    /// A number of the result.
    #[track_caller]
    pub(crate) fn number(&self, key: &str) -> u64 {
        match self.json()[key].as_u64() {
            Some(number) => number,
            None => panic!(
                "`sync-cli {}` has no number `{key}`\n{}",
                self.call, self.stdout
            ),
        }
    }

    /// A text of the result.
    #[track_caller]
    pub(crate) fn text(&self, key: &str) -> String {
        match self.json()[key].as_str() {
            Some(text) => text.to_owned(),
            None => panic!(
                "`sync-cli {}` has no text `{key}`\n{}",
                self.call, self.stdout
            ),
        }
    }
}

/// Writes the `sync.toml` of a workspace, and its empty `services/`.
///
/// # Panics
///
/// When the file system refuses.
#[track_caller]
pub(crate) fn write_workspace(directory: &Path, url: &str, tenant: &str, authority: Option<&Path>) {
    let name = directory
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let authority = authority.map_or_else(String::new, |path| {
        format!("ca_file = \"{}\"\n", path.display())
    });
    let text = format!(
        "[workspace]\nname = \"{name}\"\n\n[remote]\nurl = \"{url}\"\ntenant = \"{tenant}\"\nbranch = \"main\"\n{authority}"
    );
    let written = fs::create_dir_all(directory.join("services"))
        .and_then(|()| fs::write(directory.join("sync.toml"), text));
    if let Err(error) = written {
        panic!(
            "could not write the workspace {}: {error}",
            directory.display()
        );
    }
}
