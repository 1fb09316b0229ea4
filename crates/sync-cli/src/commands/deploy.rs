//! `deploy`: from source to a running program.

mod look;
mod past;

use serde_json::{Value, json};
use sync_deploy::{Plan, ProcessRunner, Registry, ShipEvent, Shipped, Turn, ship};
use sync_engine::Limits;
use sync_store::protocol::deploy::{AskDeploy, Deployed, Which};

pub(super) use look::{Look, blocking};
pub(super) use past::{Going, Wanted, bring_back};

use super::{Place, ask};
use crate::args::{Deploy, DeployVerb, Format};
use crate::connect::{Connection, Purpose};
use crate::terminal::{Paint, Terminal, seconds};
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, mut asked: Deploy) -> Result<Outcome, Error> {
    match asked.verb.take() {
        None => {}
        Some(DeployVerb::Status(_)) => return past::status(place).await,
        Some(DeployVerb::History(history)) => return past::history(place, &history).await,
        Some(DeployVerb::Rollback(back)) => return past::rollback(place, back).await,
    }
    let workspace = place.workspace()?;
    let purpose = if asked.dry_run {
        Purpose::Look
    } else {
        Purpose::Act
    };
    let connection = Connection::open(&workspace, place.env, purpose).await?;
    let done = deploy(place, &connection, asked).await;
    connection.close().await;
    done.map(|()| Outcome::Done)
}

async fn deploy(place: &Place<'_>, connection: &Connection, asked: Deploy) -> Result<(), Error> {
    let look = Look::new(place)?;
    let destination = look.destination(Some(&connection.remote)).await?;
    let wish = asked.wish(&look);
    if asked.dry_run {
        let plan = look.plan(&destination, &wish).await?;
        show(place, &plan);
        return Ok(());
    }
    let turn = Turn::take(&look.dir())?;
    // Whatever can be known to go wrong is found before anything is built.
    if !wish.skip_push {
        sync_deploy::engine::version(&ProcessRunner).await?;
    }
    let registry = Registry::new(destination.repository.clone(), destination.login.clone())?;
    registry.greet().await?;
    let plan = look.plan(&destination, &wish).await?;
    let question = format!(
        "deploy `{}` to tenant `{}`: go on?",
        plan.tag,
        connection.remote.tenant()
    );
    let mut limits = Limits {
        yes: asked.yes,
        ..Limits::default()
    };
    ask::confirm(place, Some(question), &mut limits, || lines(place, &plan))?;
    let private = look.private(&turn, &destination)?;
    let tell = |event: ShipEvent| tell(place, &event);
    let shipped = ship(&ProcessRunner, &registry, &plan, private.as_ref(), &tell).await?;
    drop(private);
    let (deployed, steps) = send(place, connection, &shipped, asked.message).await?;
    report(place, &shipped, &deployed, &steps);
    Ok(())
}

/// Has the tenant run what was shipped, and waits until it serves; with what each of the server's steps took.
async fn send(
    place: &Place<'_>,
    connection: &Connection,
    shipped: &Shipped,
    message: Option<String>,
) -> Result<(Deployed, Vec<(&'static str, u64)>), Error> {
    let remote = &connection.remote;
    let head = remote.head(None).await?.and_then(|head| head.head);
    let ask = AskDeploy {
        branch: remote.branch().clone(),
        head,
        release: Which::New(shipped.release.clone()),
        author: place.env.author(),
        message,
    };
    past::follow(place, remote, &ask).await
}

/// Whether a person follows.
fn is_for_people(place: &Place<'_>) -> bool {
    place.terminal.format == Format::Text && !place.terminal.quiet
}

fn tell(place: &Place<'_>, event: &ShipEvent) {
    place.terminal.event_of_program(event);
    if !is_for_people(place) {
        return;
    }
    match event {
        ShipEvent::StepStart { step, command } => Terminal::note(&format!("{step}: {command}")),
        ShipEvent::StepLine { line, .. } => Terminal::note(&format!("  {line}")),
        ShipEvent::StepComplete { step, duration_ms } => {
            Terminal::note(&format!("{step}: done in {}", seconds(*duration_ms)));
        }
        ShipEvent::LayersReused { reused, layers } => {
            Terminal::note(&format!("{reused} of {layers} layers reused"));
        }
    }
}

/// What would run, for people.
fn lines(place: &Place<'_>, plan: &Plan) {
    let commit = plan.seen.source.commit().unwrap_or("none");
    place
        .terminal
        .line(&format!("image        {}", plan.reference()));
    place.terminal.line(&format!("commit       {commit}"));
    for step in &plan.steps {
        place.terminal.line(&format!(
            "{:<12} {}",
            step.name,
            place.terminal.paint(Paint::Bold, &step.command.to_string())
        ));
    }
}

fn show(place: &Place<'_>, plan: &Plan) {
    lines(place, plan);
    let steps = plan
        .steps
        .iter()
        .map(|step| json!({"step": step.name, "command": step.command.to_string()}));
    place.terminal.value(&json!({
        "operation": "deploy",
        "success": true,
        "dry_run": true,
        "tag": plan.tag,
        "image": plan.reference(),
        "commit": plan.seen.source.commit(),
        "dirty": plan.seen.source.is_dirty(),
        "contents": plan.seen.contents,
        "builder": plan.seen.builder.as_str(),
        "steps": steps.collect::<Vec<_>>(),
    }));
}

fn report(
    place: &Place<'_>,
    shipped: &Shipped,
    deployed: &Deployed,
    steps: &[(&'static str, u64)],
) {
    let release = &shipped.release;
    let here = shipped
        .steps
        .iter()
        .map(|(name, took)| (name.as_str(), *took));
    let steps: Vec<(&str, u64)> = here.chain(steps.iter().copied()).collect();
    for (name, took) in &steps {
        place
            .terminal
            .line(&format!("{name:<12} {}", seconds(*took)));
    }
    if let Some((reused, layers)) = shipped.layers {
        place
            .terminal
            .line(&format!("layers       {reused} of {layers} reused"));
    }
    let already = if deployed.already {
        ", as it did before"
    } else {
        ""
    };
    let url = deployed.url.as_ref().map(|url| format!(" at {url}"));
    place.terminal.line(&format!(
        "deployed     {} serves{}{already}; snapshot {}",
        release.tag,
        url.unwrap_or_default(),
        place.terminal.paint(Paint::Yellow, &deployed.head.short())
    ));
    let steps: Vec<Value> = steps
        .iter()
        .map(|(step, took)| json!({"step": step, "duration_ms": took}))
        .collect();
    place.terminal.value(&json!({
        "operation": "deploy",
        "success": true,
        "dry_run": false,
        "tag": release.tag,
        "image": release.image,
        "release": deployed.release,
        "contents": release.contents,
        "head": deployed.head,
        "url": deployed.url,
        "already": deployed.already,
        "layers": shipped.layers.map(|(reused, layers)| json!({"reused": reused, "all": layers})),
        "steps": steps,
        "duration_ms": place.elapsed_ms(),
    }));
}
