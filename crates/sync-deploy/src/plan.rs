//! From what was seen to the commands that build and ship: pure.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use snafu::{OptionExt, ensure};
use sync_core::{Digest, Release};

use crate::config::{Project, Repository};
use crate::error::SettingsSnafu;
use crate::source::{Source, checked_tag};
use crate::{Builder, Command, Error, Login, engine};

/// What an image of ours is labelled with, so that what a registry has can be told from any other.
pub(crate) const LABEL_CONTENTS: &str = "sync.contents";
pub(crate) const LABEL_DIRTY: &str = "sync.dirty";
pub(crate) const LABEL_COMMIT: &str = "org.opencontainers.image.revision";

/// What a person asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The tag.
    pub tag: Option<String>,
    /// Whether the program and web assets are taken as they are.
    pub skip_build: bool,
    /// Whether the image is the one that the registry has under the tag.
    pub skip_push: bool,
    /// Whether a source may be shipped that no commit names.
    pub allow_dirty: bool,
}

/// What was seen of the source and of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which source it is.
    pub source: Source,
    /// What builds images here.
    pub builder: Builder,
    /// What the image is made from.
    pub contents: Digest,
}

/// Where it goes, and by whom.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Where the image goes.
    pub repository: Repository,
    /// Who pushes; the engine's own credentials where absent.
    pub login: Option<Login>,
    /// Where those are kept meanwhile: see [`crate::Private`].
    pub private: PathBuf,
}

/// A part of a deploy on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    /// The program is built.
    CargoBuild,
    /// Web assets are built.
    WebBuild,
    /// The image is built.
    ImageBuild,
    /// The registry lets us in.
    Login,
    /// The image goes to the registry.
    Push,
}

impl StepName {
    /// What people call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CargoBuild => "cargo build",
            Self::WebBuild => "web build",
            Self::ImageBuild => "image build",
            Self::Login => "login",
            Self::Push => "push",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A step and its command.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it is.
    pub name: StepName,
    /// What runs.
    pub command: Command,
}

/// What is to be done. Made by [`plan`], done by [`crate::ship`].
#[derive(Debug, Clone)]
pub struct Plan {
    /// The tag.
    pub tag: String,
    /// Where the image goes.
    pub repository: Repository,
    /// The commands, in order; none where the registry has the image already.
    pub steps: Vec<Step>,
    /// What was seen.
    pub seen: Seen,
}

impl Plan {
    /// The image as it is named before its digest is known.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// The release, once the registry has given its digest (`sha256:…`).
    pub fn release(&self, digest: &str) -> Release {
        Release {
            commit: self.seen.source.commit().map(str::to_owned),
            contents: self.seen.contents,
            dirty: self.seen.source.is_dirty(),
            image: format!("{}@{digest}", self.repository),
            tag: self.tag.clone(),
        }
    }
}

/// The commands that build a project and ship its image, `now` in seconds since 1970.
///
/// # Errors
///
/// [`Error::Unclean`] where the source is not what a commit names and nobody allowed that; [`Error::Settings`] where the tag is
/// none, or is lacking for an image that is not built here.
pub fn plan(
    project: &Project,
    destination: &Destination,
    seen: Seen,
    wish: &Wish,
    now: u64,
) -> Result<Plan, Error> {
    if !wish.allow_dirty && !wish.skip_push {
        seen.source.ensure_clean()?;
    }
    if let Some(tag) = &wish.tag {
        checked_tag(tag)?;
    }
    let reason = "say which image: `--skip-push` needs `--tag`";
    ensure!(
        !wish.skip_push || wish.tag.is_some(),
        SettingsSnafu { key: "tag", reason }
    );
    let tag = wish.tag.clone().unwrap_or_else(|| seen.source.tag(now));
    let mut plan = Plan {
        tag,
        repository: destination.repository.clone(),
        steps: Vec::new(),
        seen,
    };
    if !wish.skip_push {
        plan.steps = steps(project, destination, &plan, wish);
    }
    Ok(plan)
}

fn steps(project: &Project, destination: &Destination, plan: &Plan, wish: &Wish) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |name, command| steps.push(Step { name, command });
    if !wish.skip_build {
        if let Some((package, binary)) = &project.package {
            let args = [
                "build",
                "--release",
                "--locked",
                "--package",
                package,
                "--bin",
                binary,
            ];
            step(
                StepName::CargoBuild,
                Command::new("cargo", args).in_dir(&project.source),
            );
        }
        if let Some((web, _)) = &project.web {
            step(
                StepName::WebBuild,
                Command::new("npm", ["run", "build"]).in_dir(web),
            );
        }
    }
    let reference = plan.reference();
    step(StepName::ImageBuild, image_build(project, plan, &reference));
    let mut push = Command::new("docker", ["push", &reference]);
    if let Some(login) = &destination.login {
        step(StepName::Login, engine::login(login, &destination.private));
        push = push.env("DOCKER_CONFIG", &destination.private);
    }
    step(StepName::Push, push);
    steps
}

fn image_build(project: &Project, plan: &Plan, reference: &str) -> Command {
    let seen = &plan.seen;
    let mut args = vec![
        "build".to_owned(),
        "--file".to_owned(),
        project.dockerfile.display().to_string(),
        "--tag".to_owned(),
        reference.to_owned(),
        format!("--label={LABEL_CONTENTS}={}", seen.contents),
        format!("--label={LABEL_DIRTY}={}", seen.source.is_dirty()),
    ];
    if let Some(commit) = seen.source.commit() {
        args.push(format!("--label={LABEL_COMMIT}={commit}"));
    }
    args.push(project.context.display().to_string());
    let (key, value) = seen.builder.variable();
    Command::new("docker", args)
        .in_dir(&project.source)
        .env(key, value)
}

/// The release of an image that the registry has, by what its labels say.
///
/// # Errors
///
/// [`Error::Settings`] where it was not built by a deploy of ours.
pub fn shipped_before(plan: &Plan, image: &crate::registry::Image) -> Result<Release, Error> {
    let label = |name: &str| image.labels.get(name);
    let contents = label(LABEL_CONTENTS).and_then(|text| text.parse().ok());
    let reason = format!("`{}` was not built by `sync-cli deploy`", plan.reference());
    Ok(Release {
        commit: label(LABEL_COMMIT).cloned(),
        contents: contents.context(SettingsSnafu { key: "tag", reason })?,
        dirty: label(LABEL_DIRTY).is_none_or(|dirty| dirty != "false"),
        image: format!("{}@{}", plan.repository, image.digest),
        tag: plan.tag.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeployConfig;
    use std::path::Path;
    use sync_core::Fault;
    use sync_transport::Secret;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn planned(wish: &Wish, changed: usize, has_login: bool) -> Result<Vec<String>, Error> {
        let config = DeployConfig {
            package: Some("agents".to_owned()),
            web: Some("web".into()),
            ..DeployConfig::default()
        };
        let login = has_login.then(|| Login {
            registry: "r.example.com".to_owned(),
            username: "ada".to_owned(),
            password: Secret::new("hunter2"),
        });
        let destination = Destination {
            repository: Repository::new("r.example.com", "team/agents").unwrap(),
            login,
            private: "/w/.sync/deploy".into(),
        };
        let seen = Seen {
            source: Source::Commit {
                id: COMMIT.to_owned(),
                changed,
            },
            builder: Builder::Classic,
            contents: Digest::of(b""),
        };
        let plan = plan(
            &config.project(Path::new("/w")),
            &destination,
            seen,
            wish,
            17,
        )?;
        let line = |step: &Step| format!("{}: {}", step.name, step.command);
        Ok(plan.steps.iter().map(line).collect())
    }

    #[test]
    fn the_commands_of_a_deploy() {
        let contents = Digest::of(b"");
        let reference = "r.example.com/team/agents:deploy-17-0123456";
        let build = format!(
            "image build: docker build --file /w/Dockerfile --tag {reference} --label=sync.contents={contents} --label=sync.dirty=false --label=org.opencontainers.image.revision={COMMIT} /w"
        );
        let all = planned(&Wish::default(), 0, true).unwrap();
        assert_eq!(
            all,
            [
                "cargo build: cargo build --release --locked --package agents --bin agents",
                "web build: npm run build",
                &build,
                "login: docker login --username ada --password-stdin r.example.com",
                &format!("push: docker push {reference}"),
            ]
        );
        let wish = Wish {
            skip_build: true,
            ..Wish::default()
        };
        assert_eq!(planned(&wish, 0, false).unwrap(), [build, all[4].clone()]);
        let wish = Wish {
            skip_push: true,
            tag: Some("v1".to_owned()),
            ..Wish::default()
        };
        assert_eq!(planned(&wish, 3, true).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_refused() {
        let code = |wish: &Wish, changed| planned(wish, changed, true).map_err(|e| e.code()).err();
        assert_eq!(code(&Wish::default(), 1), Some("deploy/unclean"));
        let dirty = Wish {
            allow_dirty: true,
            ..Wish::default()
        };
        assert_eq!(code(&dirty, 1), None);
        let tag = Wish {
            tag: Some("-".to_owned()),
            ..Wish::default()
        };
        assert_eq!(code(&tag, 0), Some("deploy/settings"));
        let untagged = Wish {
            skip_push: true,
            ..Wish::default()
        };
        assert_eq!(code(&untagged, 0), Some("deploy/settings"));
    }
}
