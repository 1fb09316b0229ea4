//! Deploys over real connections: a place in memory that fails where it is told to, and an operator's program.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::Release;
use sync_deploy::{Deployer, Error, Health, Serving, Wanted};
use sync_server::Places;
use tokio::sync::Notify;

use super::*;

const DEPLOY: &str = "/v1/tenants/acme/deploy";
const DEPLOYS: &str = "/v1/tenants/acme/deploys";

/// A place in memory.
#[derive(Debug, Default)]
struct Stage {
    state: Mutex<State>,
    /// Told when somebody begins to wait for ever.
    held: Notify,
}

#[derive(Debug, Default)]
struct State {
    serves: Option<Wanted>,
    started: BTreeSet<Digest>,
    /// Which step fails, and which never ends once it has done what it does.
    fails: &'static str,
    hangs: &'static str,
    abandoned: u32,
}

impl Stage {
    fn at(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn places(self: &Arc<Self>) -> Places {
        let stage = Arc::clone(self);
        Arc::new(move |_, _| Ok(Arc::clone(&stage) as Arc<dyn Deployer>))
    }

    async fn step(&self, name: &'static str) -> Result<(), Error> {
        let (fails, hangs) = {
            let state = self.at();
            (state.fails, state.hangs)
        };
        if hangs == name {
            self.held.notify_one();
            std::future::pending::<()>().await;
        }
        if fails == name {
            return Err(Error::Place {
                place: "the stage".to_owned(),
                trouble: format!("has no {name}"),
            });
        }
        Ok(())
    }

    fn serves(&self) -> Option<Digest> {
        self.at().serves.as_ref().map(|serves| serves.release)
    }
}

#[async_trait]
impl Deployer for Stage {
    async fn serving(&self, _: &str) -> Result<Option<Serving>, Error> {
        self.step("serving").await?;
        Ok(self.at().serves.clone().map(serving))
    }

    async fn start(&self, wanted: &Wanted) -> Result<(), Error> {
        self.at().started.insert(wanted.release);
        self.step("start").await
    }

    async fn health(&self, wanted: &Wanted) -> Result<Health, Error> {
        assert!(self.at().started.contains(&wanted.release), "not started");
        if self.at().fails == "well" {
            let reason = "it ended with status 3: no route to the agents".to_owned();
            return Ok(Health::Unhealthy { reason });
        }
        if self.at().fails == "patience" {
            return Ok(Health::Starting);
        }
        self.step("health").await?;
        Ok(Health::Healthy)
    }

    async fn switch(&self, wanted: &Wanted) -> Result<Serving, Error> {
        if self.at().fails != "switch" {
            self.at().serves = Some(wanted.clone());
        }
        self.step("switch").await?;
        Ok(serving(wanted.clone()))
    }

    async fn abandon(&self, wanted: &Wanted) -> Result<(), Error> {
        if self.serves() != Some(wanted.release) {
            self.at().started.remove(&wanted.release);
            self.at().abandoned += 1;
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

fn serving(wanted: Wanted) -> Serving {
    Serving {
        release: Some(wanted.release),
        image: wanted.image,
        url: Some("http://127.0.0.1:8080".to_owned()),
        health: Health::Healthy,
    }
}

fn release(name: &str) -> Release {
    Release {
        commit: None,
        contents: Digest::of(name.as_bytes()),
        dirty: false,
        image: format!("registry.example.com/agents@sha256:{}", "ab".repeat(32)),
        tag: name.to_owned(),
    }
}

fn id_of(name: &str) -> Digest {
    release(name).encode().unwrap().0
}

/// A request to deploy `what` onto `head`.
fn ask(what: &Value, head: Option<SnapshotId>) -> Call {
    let asked = json!({"branch": "main", "head": head, "release": what, "author": "ada"});
    post(DEPLOY, &asked)
}

fn new(name: &str) -> Value {
    json!({"new": release(name)})
}

/// The status, and the lines of an answer.
async fn deploy(client: &Client, call: Call) -> (u16, Vec<Value>) {
    let answer = client.send(call).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().read_to_end(1 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_str(line).unwrap());
    (status, lines.collect())
}

/// The last line of a deploy.
async fn last(client: &Client, call: Call) -> Value {
    let (status, lines) = deploy(client, call).await;
    assert_eq!(status, 200, "{lines:?}");
    lines.into_iter().next_back().unwrap()
}

async fn head(client: &Client) -> (Option<SnapshotId>, Value) {
    let (status, head) = send(client, Call::get(HEAD)).await;
    assert_eq!(status, 200, "{head}");
    let id = head["head"].as_str().map(|id| id.parse().unwrap());
    (id, head["snapshot"]["roots"].clone())
}

async fn place(site: &Site, place: &Value) {
    let registry = json!({"registry": "registry.example.com", "username": "ci", "repository": "agents",
        "password": {"variable": "REGISTRY_PASSWORD"}});
    let settings =
        json!({"branch": "main", "place": place, "registry": registry, "patience_seconds": 5});
    let call = Call::new(Method::PUT, "/v1/admin/deploy");
    let body = json!({"tenant": "acme", "deploy": settings});
    let call = call.body(serde_json::to_vec(&body).unwrap());
    let (status, set) = send(&site.operator, call).await;
    assert_eq!(status, 200, "{set}");
}

/// A site whose tenant `acme` runs on a stage, with a snapshot of a file; a client that may deploy.
async fn site(stage: &Arc<Stage>) -> (Site, Client) {
    let configure = |server: Server| {
        let variables = |name: &str| (name == "REGISTRY_PASSWORD").then(|| "hunter2\n".to_owned());
        server
            .with_places(stage.places())
            .with_variables(Arc::new(variables))
    };
    let site = Site::start_over(Store::in_memory(), configure).await;
    let site = site.and_tenants().await;
    place(&site, &json!({"command": {"program": "/nowhere"}})).await;
    let client = site.client(&site.token("acme", "deploy").await.1);
    let pushed = send(&client, push(None, snapshot("one", None, "a.txt", None))).await;
    assert_eq!(pushed.0, 200, "{}", pushed.1);
    (site, client)
}

#[tokio::test]
async fn the_head_names_what_serves() {
    let stage = Arc::new(Stage::default());
    let (_site, client) = site(&stage).await;
    let (before, roots) = head(&client).await;
    let (status, lines) = deploy(&client, ask(&new("one"), before)).await;
    assert_eq!(status, 200, "{lines:?}");
    let steps: Vec<_> = lines
        .iter()
        .filter_map(|line| line["step"]["step"].as_str())
        .collect();
    let expected = ["start", "health", "switch", "record"];
    let twice: Vec<_> = expected.iter().flat_map(|step| [*step; 2]).collect();
    assert_eq!(steps, twice);
    let (first, after) = head(&client).await;
    assert_eq!(after["files"], roots["files"]);
    assert_eq!(after["release"], json!(id_of("one")));
    assert_eq!(lines.last().unwrap()["done"]["head"], json!(first));
    assert_eq!(stage.serves(), Some(id_of("one")));

    // The same again is there already, whatever the head was.
    let again = last(&client, ask(&new("one"), before)).await;
    assert_eq!(again["done"]["already"], true);
    assert_eq!(head(&client).await.0, first);

    // A push of files keeps the release; who deploys must have seen it.
    let (second, pack) = deployed_snapshot("two", first.unwrap(), Some(id_of("one")));
    assert_eq!(send(&client, push(first, (second, pack))).await.0, 200);
    let (status, lines) = deploy(&client, ask(&new("two"), first)).await;
    assert_eq!(
        (status, &lines[0]["error"]["code"]),
        (412, &json!("server/stale"))
    );
    let done = last(&client, ask(&new("two"), Some(second))).await;
    assert_eq!(done["done"]["release"], json!(id_of("two")));

    // And back, by its name alone.
    let now = head(&client).await.0;
    let back = last(&client, ask(&json!({"known": id_of("one")}), now)).await;
    assert_eq!(back["done"]["release"], json!(id_of("one")));
    let (_, log) = send(
        &client,
        Call::get(format!(
            "/v1/tenants/acme/snapshots?from={}",
            head(&client).await.0.unwrap()
        )),
    )
    .await;
    let tags = log["snapshots"].as_array().unwrap().iter();
    let tags: Vec<_> = tags
        .map(|logged| logged["release"]["tag"].clone())
        .collect();
    assert_eq!(
        tags,
        [
            json!("one"),
            json!("two"),
            json!("one"),
            json!("one"),
            Value::Null
        ]
    );
    let (_, history) = send(&client, Call::get(DEPLOYS)).await;
    let served = history["deploys"].as_array().unwrap();
    assert_eq!(served.len(), 3);
    assert_eq!(served[0]["before"], json!(id_of("two")));
    let by = served[0]["by"].as_str().unwrap();
    assert!(by.starts_with("ada (token "), "{by}");
    let (_, status) = send(&client, Call::get(DEPLOY)).await;
    assert_eq!(status["serving"]["health"], "healthy");
    assert_eq!(status["release"]["tag"], "one");
    assert_eq!(
        status["last"]["end"]["served"],
        json!(head(&client).await.0)
    );
}

/// A snapshot of one file with a release, and a pack of it without that.
fn deployed_snapshot(
    text: &str,
    parent: SnapshotId,
    release: Option<Digest>,
) -> (SnapshotId, Vec<u8>) {
    let (id, pack) = snapshot(text, Some(parent), "a.txt", None);
    let mut decoder = sync_store::pack::PackDecoder::new().unwrap();
    decoder.push(&pack);
    let mut writer = PackWriter::new().unwrap();
    let mut named = id;
    while let Some(event) = decoder.next_event().unwrap() {
        let sync_store::pack::Event::Block(block) = event else {
            continue;
        };
        for object in block.objects() {
            let mut object = object.to_vec();
            if Digest::of(&object) == id.0 {
                let mut snapshot = Snapshot::decode(&object).unwrap();
                snapshot.roots.release = release;
                (named, object) = snapshot.encode().unwrap();
            }
            writer.add(block.header.class, &object).unwrap();
        }
    }
    (named, writer.finish().unwrap().concat())
}

#[tokio::test]
async fn whatever_fails_what_served_before_goes_on() {
    let stage = Arc::new(Stage::default());
    let (_site, client) = site(&stage).await;
    let start = head(&client).await.0;
    last(&client, ask(&new("good"), start)).await;
    let (before, _) = head(&client).await;
    for (fails, step, reason) in [
        ("start", "start", "the stage has no start"),
        ("health", "health", "the stage has no health"),
        ("well", "health", "no route to the agents"),
        ("patience", "health", "not healthy after 0 s"),
        ("switch", "switch", "the stage has no switch"),
    ] {
        stage.at().fails = fails;
        let error = last(&client, ask(&new(fails), before)).await["error"].clone();
        assert_eq!(error["code"], "server/not-deployed", "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(reason) && message.contains(step),
            "{message}"
        );
        stage.at().fails = "";
        assert_eq!(stage.serves(), Some(id_of("good")), "{fails}");
        assert_eq!(stage.at().started.len(), 1, "{fails} is left behind");
        assert_eq!(head(&client).await.0, before);
        let (_, history) = send(&client, Call::get(DEPLOYS)).await;
        let newest = &history["deploys"][0];
        assert_eq!(
            (&newest["tag"], &newest["end"]["failed"]["step"]),
            (&json!(fails), &json!(step))
        );
    }
    let done = last(&client, ask(&new("better"), before)).await;
    assert_eq!(done["done"]["release"], json!(id_of("better")));
}

#[tokio::test]
async fn the_second_is_told_whose_deploy_runs() {
    let stage = Arc::new(Stage::default());
    let (site, client) = site(&stage).await;
    let before = head(&client).await.0;
    stage.at().hangs = "health";
    // Whoever begins may go away: the deploy goes on.
    let answer = client.send(ask(&new("slow"), before)).await.unwrap();
    stage.held.notified().await;
    let other = site.client(&site.token("acme", "deploy").await.1);
    let (status, lines) = deploy(&other, ask(&new("fast"), before)).await;
    assert_eq!(status, 409);
    let error = &lines[0]["error"];
    assert_eq!(error["code"], "server/deploying");
    assert_eq!(error["details"]["deploying"]["tag"], "slow");
    assert_eq!(
        error["details"]["deploying"]["since"],
        1_700_000_000_000_u64
    );
    let (_, status) = send(&client, Call::get(DEPLOY)).await;
    assert_eq!(status["running"]["tag"], "slow");
    drop(answer);
    assert_eq!(head(&client).await.0, before);
}

/// A server that ends in the middle: another one over the same store and place goes on.
async fn cut_short(hangs: &'static str) -> (Arc<Stage>, Site, Client, Option<SnapshotId>) {
    let stage = Arc::new(Stage::default());
    let (site, client) = site(&stage).await;
    let first = head(&client).await.0;
    last(&client, ask(&new("good"), first)).await;
    let before = head(&client).await.0;
    stage.at().hangs = hangs;
    let answer = client.send(ask(&new("next"), before)).await.unwrap();
    stage.held.notified().await;
    drop(answer);
    stage.at().hangs = "";
    let server = Server::new(site.store.clone(), Arc::new(|| 1_700_000_009_000));
    let server = server.with_places(stage.places());
    server.resume_deploys().await;
    (stage, site, client, before)
}

#[tokio::test]
async fn what_had_not_taken_over_is_taken_back() {
    for hangs in ["start", "health"] {
        let (stage, _site, client, before) = cut_short(hangs).await;
        assert_eq!(stage.serves(), Some(id_of("good")));
        assert_eq!(stage.at().started.len(), 1);
        assert_eq!(head(&client).await.0, before);
        let (_, history) = send(&client, Call::get(DEPLOYS)).await;
        let reason = &history["deploys"][0]["end"]["failed"]["reason"];
        assert_eq!(reason, "the server ended meanwhile");
    }
}

#[tokio::test]
async fn what_had_taken_over_is_recorded() {
    let (stage, _site, client, before) = cut_short("switch").await;
    assert_eq!(stage.serves(), Some(id_of("next")));
    let (after, roots) = head(&client).await;
    assert_ne!(after, before);
    assert_eq!(roots["release"], json!(id_of("next")));
    let (_, history) = send(&client, Call::get(DEPLOYS)).await;
    assert_eq!(history["deploys"][0]["end"]["served"], json!(after));
}

#[tokio::test]
async fn nobody_pushes_another_release_than_serves() {
    let stage = Arc::new(Stage::default());
    let (_site, client) = site(&stage).await;
    let before = head(&client).await.0;
    let (_, bytes) = release("pushed").encode().unwrap();
    let (target, _) = deployed_snapshot("two", before.unwrap(), Some(Digest::of(&bytes)));
    let mut writer = PackWriter::new().unwrap();
    writer.add(Class::Nodes, &bytes).unwrap();
    let (id, pack) = deployed_snapshot("two", before.unwrap(), Some(Digest::of(&bytes)));
    assert_eq!(id, target);
    let (status, refused) = send(&client, push(before, (id, pack))).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("server/other-release"))
    );
    assert_eq!(head(&client).await.0, before);
    // What is not there cannot be deployed by its name.
    let known = json!({"known": Digest::of(&bytes)});
    let (status, refused) = deploy(&client, ask(&known, before)).await;
    assert_eq!(
        (status, &refused[0]["error"]["code"]),
        (404, &json!("server/no-release"))
    );
}

#[tokio::test]
async fn who_may_deploy_and_who_may_look() {
    let stage = Arc::new(Stage::default());
    let (site, client) = site(&stage).await;
    let writer = site.client(&site.token("acme", "write").await.1);
    let before = head(&client).await.0;
    assert_eq!(deploy(&writer, ask(&new("one"), before)).await.0, 403);
    let token = "/v1/tenants/acme/registry-token";
    assert_eq!(send(&writer, Call::get(token)).await.0, 403);
    for path in [DEPLOY, DEPLOYS] {
        assert_eq!(send(&writer, Call::get(path)).await.0, 200);
    }
    let (status, found) = send(&client, Call::get(token)).await;
    let expected = json!({"registry": "registry.example.com", "username": "ci", "token": "hunter2", "repository": "agents"});
    assert_eq!((status, found), (200, expected));
    let (_, shown) = send(&site.operator, Call::get("/v1/admin/deploy?tenant=acme")).await;
    assert_eq!(
        shown["deploy"]["registry"]["password"]["variable"],
        "REGISTRY_PASSWORD"
    );
    assert!(!shown.to_string().contains("hunter2"));
    assert_eq!(
        send(&client, Call::get("/v1/admin/deploy?tenant=acme"))
            .await
            .0,
        403
    );
    // Another tenant has no place.
    let other = site.client(&site.token("other", "deploy").await.1);
    let asked = json!({"branch": "main", "head": null, "release": new("one"), "author": "ada"});
    let (status, refused) = send(&other, post("/v1/tenants/other/deploy", &asked)).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (404, &json!("server/no-place"))
    );
}

/// The operator's program: what serves is a file, and an image called `bad` never gets well.
const PROGRAM: &str = r#"#!/bin/sh
set -e
cd "$(dirname "$0")"
case "$1" in
serving) if [ -e serves ]; then cat serves; fi ;;
start) echo "$SYNC_DEPLOY_RELEASE" > started ;;
health) case "$SYNC_DEPLOY_IMAGE" in *bad@*) echo "it says no"; exit 1 ;; esac ;;
switch)
  echo "{\"image\": \"$SYNC_DEPLOY_IMAGE\", \"release\": \"$SYNC_DEPLOY_RELEASE\", \"url\": \"http://here\"}" > serves
  cat serves ;;
abandon) rm -f started ;;
esac
"#;

#[tokio::test]
async fn an_operators_program_deploys() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("deploy.sh");
    std::fs::write(&program, PROGRAM).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let site = Site::with_tenants().await;
    place(&site, &json!({"command": {"program": program}})).await;
    let client = site.client(&site.token("acme", "deploy").await.1);
    let done = last(&client, ask(&new("good"), None)).await;
    assert_eq!(done["done"]["url"], "http://here", "{done}");
    let before = head(&client).await.0;
    let mut bad = release("bad");
    bad.image = bad.image.replace("agents", "bad");
    let error = last(&client, ask(&json!({"new": bad}), before)).await;
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("it says no"), "{message}");
    assert!(!dir.path().join("started").exists());
    let (_, status) = send(&client, Call::get(DEPLOY)).await;
    assert_eq!(status["serving"]["release"], json!(id_of("good")));
    assert_eq!(head(&client).await.0, before);
}
