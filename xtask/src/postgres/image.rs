//! The images that a server may run in: pulled, or made of Debian packages once.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use snafu::{OptionExt as _, ResultExt as _, ensure};

use super::container::{docker, succeeds};
use crate::{
    cargo, debian,
    error::{IoSnafu, ProgramSnafu, Result, UnexpectedSnafu},
};

const OFFICIAL: &str = "postgres:15";
/// How long a registry may take to begin an answer; what follows may take as long as it does.
const PATIENCE: Duration = Duration::from_secs(20);
/// Writes the root of the system that becomes the image.
const SCRIPT: &str = include_str!("image.sh");
/// What the image says of itself, beside its files.
const CHANGES: [&str; 2] = [
    "ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "USER postgres",
];

/// The name of the official image, once it is here.
pub(super) fn official() -> Result<String> {
    if !is_here(OFFICIAL) {
        pull(OFFICIAL)?;
    }
    Ok(OFFICIAL.to_owned())
}

fn is_here(image: &str) -> bool {
    succeeds(Command::new("docker").args(["image", "inspect", image]))
}

fn pull(image: &str) -> Result<()> {
    let mut command = Command::new("docker");
    command.args(["pull", image]).stdout(Stdio::piped());
    let mut child = spawn(&mut command)?;
    let (send, receive) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens after the first line.
                let _ = send.send(line);
            }
        });
    }
    // Either a line, or the end of the pull, or no answer.
    if receive.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
        drop(child.kill());
        drop(child.wait());
        return UnexpectedSnafu {
            what: format!("no registry answered within {} s", PATIENCE.as_secs()),
        }
        .fail();
    }
    finish(&command, &mut child)
}

/// The name of the image made of Debian packages, once it is here: found by the digest of its recipe, or made.
pub(super) fn debian() -> Result<String> {
    let tag = debian_tag()?;
    if is_here(&tag) {
        return Ok(tag);
    }
    debian::demand("debootstrap", "debootstrap")?;
    println!("making the image {tag}, once: about a minute");
    let began = Instant::now();
    make(&tag)?;
    println!("made it in {:.0} s", began.elapsed().as_secs_f64());
    Ok(tag)
}

/// Removes the image made of Debian packages, if it is here.
pub(super) fn remove_debian() -> Result<()> {
    let tag = debian_tag()?;
    if is_here(&tag) {
        docker(&["image", "rm", &tag])?;
        println!("removed the image {tag}");
    }
    Ok(())
}

/// Pipes the system's files into the engine; the image has its name only if all of them arrived.
fn make(tag: &str) -> Result<()> {
    let mut writer = debian::privileged("sh");
    writer.args(["-c", SCRIPT, "image"]).args(mirror());
    writer.stdout(Stdio::piped());
    let mut system = spawn(&mut writer)?;
    let files = system.stdout.take().context(UnexpectedSnafu {
        what: "the system's files are not piped",
    })?;
    let mut reader = Command::new("docker");
    reader.arg("import");
    for change in CHANGES {
        reader.args(["--change", change]);
    }
    let imported = cargo::output(reader.arg("-").stdin(files));
    let written = finish(&writer, &mut system);
    let image = imported?.trim().to_owned();
    if let Err(error) = written {
        docker(&["image", "rm", &image])?;
        return Err(error);
    }
    docker(&["tag", &image, tag])
}

/// The mirror that this machine's apt asks for the release; none if it has another release.
fn mirror() -> Option<String> {
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .args(["Created-By: Packages", "Release: bookworm"])
        .output()
        .ok()?;
    let targets = String::from_utf8(targets.stdout).ok()?;
    targets.lines().next().map(str::to_owned)
}

fn debian_tag() -> Result<String> {
    let mut command = Command::new("sha256sum");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = spawn(&mut command)?;
    let context = || IoSnafu {
        action: "digest the recipe of an image",
    };
    if let Some(mut pipe) = child.stdin.take() {
        let recipe = format!("{SCRIPT}\n{}", CHANGES.join("\n"));
        pipe.write_all(recipe.as_bytes())
            .with_context(|_| context())?;
    }
    let digest = child.wait_with_output().with_context(|_| context())?;
    let digest = String::from_utf8_lossy(&digest.stdout).into_owned();
    let short = digest.get(..12).context(UnexpectedSnafu {
        what: "`sha256sum` printed no digest",
    })?;
    Ok(format!("sync-test-postgres:{short}"))
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|_| IoSnafu {
        action: format!("run `{}`", cargo::shown(command)),
    })
}

fn finish(command: &Command, child: &mut Child) -> Result<()> {
    let status = child.wait().with_context(|_| IoSnafu {
        action: format!("wait for `{}`", cargo::shown(command)),
    })?;
    ensure!(
        status.success(),
        ProgramSnafu {
            command: cargo::shown(command),
            status
        }
    );
    Ok(())
}
