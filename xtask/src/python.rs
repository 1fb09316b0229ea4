//! A Python with packages of other ecosystems, in an environment of its own below the target directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use snafu::{ResultExt as _, ensure};

use crate::{
    cargo, debian,
    error::{IoSnafu, MissingSnafu, Result},
};

/// The interpreter of an environment that has exactly this version of a package from `PyPI`; it is made once.
///
/// An installation that was cut short is made anew.
pub(crate) fn with_package(name: &str, version: &str) -> Result<PathBuf> {
    let target = PathBuf::from(cargo::metadata()?.target_directory);
    let directory = target.join(format!("python-{name}-{version}"));
    let program = directory.join("bin/python");
    let finished = directory.join("finished");
    if finished.exists() && succeeds(Command::new(&program).arg("--version")) {
        return Ok(program);
    }
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|_| IoSnafu {
            action: format!("remove `{}`", directory.display()),
        })?;
    }
    debian::demand("python3", "python3")?;
    make(&directory)?;
    println!("installing `{name}` {version} from PyPI, once");
    cargo::run(Command::new(&program).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &format!("{name}=={version}"),
    ]))?;
    fs::write(&finished, "").with_context(|_| IoSnafu {
        action: format!("write `{}`", finished.display()),
    })?;
    Ok(program)
}

/// An environment; Debian has what makes one with pip in it in a package of its own.
fn make(directory: &Path) -> Result<()> {
    let made = || succeeds(Command::new("python3").args(["-m", "venv"]).arg(directory));
    if made() {
        return Ok(());
    }
    ensure!(
        debian::obtain("python3-venv") && made(),
        MissingSnafu {
            what: "python3 cannot make a virtual environment",
            advice: "install the Debian package `python3-venv`",
        }
    );
    Ok(())
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
