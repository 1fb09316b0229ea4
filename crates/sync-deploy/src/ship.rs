//! Does what a plan says: builds, logs in, pushes, and gives the release by the digest that the registry gave.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use snafu::OptionExt;
use sync_core::Release;

use crate::error::RegistrySnafu;
use crate::plan::{Plan, StepName, shipped_before};
use crate::registry::Registry;
use crate::{CommandRunner, Error, Private, engine};

/// What happens while it ships.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ShipEvent {
    /// A step has begun.
    StepStart {
        /// Which.
        step: StepName,
        /// Its command, secrets masked.
        command: String,
    },
    /// A step has said something.
    StepLine {
        /// Which.
        step: StepName,
        /// One line, secrets masked.
        line: String,
    },
    /// A step is done.
    StepComplete {
        /// Which.
        step: StepName,
        /// How long it took.
        duration_ms: u64,
    },
    /// How much of the image the registry has already.
    LayersReused {
        /// So many layers stay where they are.
        reused: usize,
        /// So many there are.
        layers: usize,
    },
}

/// What was shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shipped {
    /// The release.
    pub release: Release,
    /// How long each step took.
    pub steps: Vec<(StepName, u64)>,
    /// Layers that the registry had, and all of them; absent where nobody could tell.
    pub layers: Option<(usize, usize)>,
}

/// Does what `plan` says. `private` holds the credentials of the plan, where it has any.
///
/// Whatever was done when a step fails stays: an image that was built is in the engine, and what is built again is taken from
/// there. Nothing that serves changes.
///
/// # Errors
///
/// Those of the steps; [`Error::Registry`] where it has no such image, or gave no digest.
pub async fn ship(
    runner: &dyn CommandRunner,
    registry: &Registry,
    plan: &Plan,
    private: Option<&Private>,
    tell: &(dyn Fn(ShipEvent) + Sync),
) -> Result<Shipped, Error> {
    let odd = |trouble: &str| RegistrySnafu {
        registry: plan.repository.registry.clone(),
        trouble: trouble.to_owned(),
    };
    if plan.steps.is_empty() {
        let image = registry.image(&plan.tag).await?;
        let trouble = format!("has no `{}`", plan.reference());
        let image = image.context(odd(&trouble))?;
        return Ok(Shipped {
            release: shipped_before(plan, &image)?,
            steps: Vec::new(),
            layers: Some((image.layers.len(), image.layers.len())),
        });
    }
    debug_assert!(
        private.is_some() || plan.steps.iter().all(|step| step.name != StepName::Login),
        "a login has somewhere to keep its credentials"
    );
    let mut steps = Vec::new();
    let mut layers = None;
    let mut digest = None;
    for step in &plan.steps {
        let name = step.name;
        if name == StepName::Push {
            layers = reused(runner, registry, plan).await;
            if let Some((reused, layers)) = layers {
                tell(ShipEvent::LayersReused { reused, layers });
            }
        }
        let command = step.command.to_string();
        tell(ShipEvent::StepStart {
            step: name,
            command,
        });
        let line = |line: &str| {
            let line = line.to_owned();
            tell(ShipEvent::StepLine { step: name, line });
        };
        let ran = engine::docker(runner, &step.command, &line).await?;
        let duration_ms = millis(ran.took);
        tell(ShipEvent::StepComplete {
            step: name,
            duration_ms,
        });
        steps.push((name, duration_ms));
        if name == StepName::Push {
            digest = pushed(&ran.stdout);
        }
    }
    let digest = digest.context(odd("gave no digest for what was pushed"))?;
    Ok(Shipped {
        release: plan.release(&digest),
        steps,
        layers,
    })
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// The digest in what `docker push` says last: `TAG: digest: sha256:… size: N`.
fn pushed(stdout: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stdout);
    let (_, after) = text.rsplit_once("digest: ")?;
    let digest = after.split_whitespace().next()?;
    let hex = digest.strip_prefix("sha256:")?;
    let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| digest.to_owned())
}

/// How many layers of the image that was built the registry has, by those of the deploy before; `None` where nobody can tell,
/// which is no reason not to push.
async fn reused(
    runner: &dyn CommandRunner,
    registry: &Registry,
    plan: &Plan,
) -> Option<(usize, usize)> {
    let reference = plan.reference();
    let words = [
        "image",
        "inspect",
        "--format",
        "{{json .RootFS.Layers}}",
        &reference,
    ];
    let text = engine::ask(runner, words).await.ok()?;
    let layers: Vec<String> = serde_json::from_str(&text).ok()?;
    let tags = registry.tags().await.ok()?;
    let Some(before) = newest(&tags) else {
        return Some((0, layers.len()));
    };
    let before = registry.image(before).await.ok()??;
    let stored: BTreeMap<String, String> = before.layers.into_iter().collect();
    let mut reused = 0;
    for stored in layers.iter().filter_map(|layer| stored.get(layer)) {
        reused += usize::from(registry.has_layer(stored).await.ok()?);
    }
    Some((reused, layers.len()))
}

/// The tag of the latest deploy.
fn newest(tags: &[String]) -> Option<&str> {
    let seconds = |tag: &&String| -> Option<u64> {
        tag.strip_prefix("deploy-")?.split('-').next()?.parse().ok()
    };
    let deploys = tags.iter().filter(|tag| seconds(tag).is_some());
    deploys.max_by_key(seconds).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_that_the_registry_gave() {
        let hex = "ab".repeat(32);
        let said = format!(
            "The push refers to repository [r/a]\n1: Pushed\nt: digest: sha256:{hex} size: 528\n"
        );
        assert_eq!(pushed(said.as_bytes()), Some(format!("sha256:{hex}")));
        assert_eq!(pushed(b"t: digest: sha256:ab size: 528"), None);
        assert_eq!(pushed(b""), None);
    }

    #[test]
    fn the_latest_deploy_is_the_one_of_the_latest_second() {
        let tags = ["latest", "deploy-9-a", "deploy-10-b-dirty", "deploy-x"].map(str::to_owned);
        assert_eq!(newest(&tags), Some("deploy-10-b-dirty"));
        assert_eq!(newest(&tags[..1]), None);
    }
}
