//! Running cargo and other programs, with their output where it belongs.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use cargo_metadata::{Metadata, MetadataCommand};
use snafu::{ResultExt as _, ensure};

use crate::{
    error::{IoSnafu, ProgramSnafu, Result, UnexpectedSnafu},
    repository,
};

/// A cargo command that runs at the root of the repository, with the cargo that runs us.
pub(crate) fn cargo<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(repository::root());
    // What cargo told us about ourselves is not true of the packages that this one builds.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The command line, for people.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = PathBuf::from(command.get_program())
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs a command with our own standard streams.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|_| IoSnafu {
        action: format!("run `{}`", shown(command)),
    })?;
    ensure!(
        status.success(),
        ProgramSnafu {
            command: shown(command),
            status
        }
    );
    Ok(())
}

/// Runs a command silently and returns its standard output; what it printed is shown only when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|_| IoSnafu {
        action: format!("run `{}`", shown(command)),
    })?;
    if !output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    ensure!(
        output.status.success(),
        ProgramSnafu {
            command: shown(command),
            status: output.status
        }
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, shows every line as it comes, and hands the lines of both streams, in order, to `line`.
pub(crate) fn watch(command: &Command, mut line: impl FnMut(&str)) -> Result<()> {
    let action = || IoSnafu {
        action: format!("run `{}`", shown(command)),
    };
    // One pipe for both streams keeps them in order.
    let mut merged = Command::new("sh");
    merged
        .args(["-c", "exec \"$0\" \"$@\" 2>&1"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdout(Stdio::piped());
    if let Some(directory) = command.get_current_dir() {
        merged.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => merged.env(name, value),
            None => merged.env_remove(name),
        };
    }
    let mut child = merged.spawn().with_context(|_| action())?;
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).split(b'\n') {
            let text = text.with_context(|_| action())?;
            let text = String::from_utf8_lossy(&text);
            println!("{text}");
            line(&text);
        }
    }
    let status = child.wait().with_context(|_| action())?;
    ensure!(
        status.success(),
        ProgramSnafu {
            command: shown(command),
            status
        }
    );
    Ok(())
}

/// What cargo knows of the workspace, without dependencies.
pub(crate) fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(repository::root())
        .no_deps()
        .exec()
        .map_err(|error| {
            UnexpectedSnafu {
                what: format!("could not read the workspace's metadata: {error}"),
            }
            .build()
        })
}
