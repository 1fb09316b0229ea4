//! Fly Machines, by a server that answers in the shape of its documented API.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sync_core::Fault;
use sync_core::retry::Backoff;
use sync_deploy::{Deployer, Fly, FlyOptions, Health};
use sync_transport::{
    Body, Client, ClientOptions, Endpoint, Listener, Peer, Secret, ServerOptions, serve,
};

use super::{PATIENCE, TENANT, contract, deployed, serves, settled, wanted};

/// What an app has, and what the next changes are answered with.
#[derive(Default)]
struct App {
    machines: Vec<Value>,
    made: u64,
    /// The change that fails, counted down; nothing does at `None`.
    fails: Option<u32>,
}

impl App {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let Some(rest) = path.strip_prefix("/v1/apps/agents/machines") else {
            return (StatusCode::NOT_FOUND, json!({"error": "app not found"}));
        };
        if *method != Method::GET
            && let Some(left) = &mut self.fails
        {
            if *left == 0 {
                let said = json!({"error": "insufficient resources to create new machine"});
                return (StatusCode::UNPROCESSABLE_ENTITY, said);
            }
            *left -= 1;
        }
        let rest = rest.split('?').next().unwrap_or_default();
        let words: Vec<&str> = rest.split('/').filter(|word| !word.is_empty()).collect();
        let at = |app: &Self, id: &str| app.machines.iter().position(|one| one["id"] == *id);
        match (method.as_str(), words.as_slice()) {
            ("GET", []) => (StatusCode::OK, Value::Array(self.machines.clone())),
            ("POST", []) => (StatusCode::OK, self.make(body)),
            ("POST", [id, "uncordon"]) if at(self, id).is_some() => {
                (StatusCode::OK, json!({"ok": true}))
            }
            ("POST", [id, "metadata", key]) => {
                let Some(at) = at(self, id) else {
                    return (StatusCode::NOT_FOUND, json!({"error": "machine not found"}));
                };
                self.machines[at]["config"]["metadata"][*key] = body["value"].clone();
                (StatusCode::NO_CONTENT, Value::Null)
            }
            ("DELETE", [id]) => {
                self.machines.retain(|one| one["id"] != **id);
                (StatusCode::OK, json!({"ok": true}))
            }
            _ => (StatusCode::NOT_FOUND, json!({"error": "machine not found"})),
        }
    }

    fn make(&mut self, body: &Value) -> Value {
        self.made += 1;
        assert_eq!(body["skip_service_registration"], true);
        let is_broken = body["config"]["image"] == "broken";
        let (status, output) = if is_broken {
            ("critical", "500 Internal Server Error: no database")
        } else {
            ("passing", "200 OK")
        };
        let machine = json!({
            "id": format!("{:014x}", self.made),
            "name": "autumn-leaf-1234",
            "state": "started",
            "region": body["region"].as_str().unwrap_or("ams"),
            "instance_id": "01H28X6YMH0000000000000000",
            "private_ip": "fdaa:0:18:a7b:7d:f066:e83c:2",
            "config": body["config"],
            "image_ref": {"registry": "registry.example.com", "repository": "agents", "tag": "", "digest": ""},
            "created_at": "2026-11-20T12:00:00Z",
            "updated_at": "2026-11-20T12:00:00Z",
            "checks": [{"name": "sync", "status": status, "output": output, "updated_at": "2026-11-20T12:00:05Z"}],
            "events": [],
        });
        self.machines.push(machine.clone());
        machine
    }
}

fn place(app: &Arc<Mutex<App>>, token: &str) -> Fly {
    let (connector, listener) = Listener::memory();
    let app = Arc::clone(app);
    let handler = move |request: Request<Body>, _: Peer| {
        let app = Arc::clone(&app);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.read_to_end(1 << 20).await.unwrap();
            let is_known = parts
                .headers
                .get("authorization")
                .is_some_and(|token| token == "Bearer fo1_good");
            let (status, value) = if is_known {
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let path = parts.uri.path_and_query().unwrap().as_str();
                app.lock().unwrap().answer(&parts.method, path, &body)
            } else {
                (
                    StatusCode::UNAUTHORIZED,
                    json!({"error": "authenticate: token validation error"}),
                )
            };
            let mut answer = Response::new(Body::from(value.to_string()));
            *answer.status_mut() = status;
            answer
        }
    };
    tokio::spawn(serve(
        vec![listener],
        Arc::new(handler),
        ServerOptions::default(),
        std::future::pending(),
    ));
    let options = ClientOptions {
        backoff: Backoff::NEVER,
        ..ClientOptions::default()
    };
    let token = Some(Secret::new(token));
    let client = Client::new(Endpoint::Memory(connector), None, token, options);
    let options = FlyOptions {
        app: "agents".to_owned(),
        region: Some("ams".to_owned()),
        port: 8080,
        health: "/health".to_owned(),
        patience: PATIENCE,
    };
    Fly::with(client, options)
}

#[tokio::test]
async fn machines_are_a_place() {
    let app = Arc::default();
    let place = place(&app, "fo1_good");
    let image = |name| wanted(TENANT, name, name);
    contract(&place, [&image("one"), &image("two"), &image("broken")]).await;
    let app = app.lock().unwrap();
    assert_eq!(app.machines.len(), 1);
    // What an operator has set on the machine of before is kept.
    assert_eq!(app.machines[0]["config"]["guest"]["memory_mb"], 512);
}

/// Whichever change fails, what served before serves, and the next try succeeds.
#[tokio::test]
async fn a_change_that_fails_leaves_what_serves() {
    for fails in 0..4 {
        let app = Arc::new(Mutex::new(App::default()));
        let place = place(&app, "fo1_good");
        let (one, two) = (wanted(TENANT, "one", "one"), wanted(TENANT, "two", "two"));
        deployed(&place, &one).await;
        app.lock().unwrap().fails = Some(fails);
        let done = async {
            place.start(&two).await?;
            settled(&place, &two).await;
            place.switch(&two).await.map(|_| ())
        };
        let error = done.await.unwrap_err();
        assert!(
            error.to_string().contains("insufficient resources"),
            "{fails}: {error}"
        );
        // Where both are let in, either of them is what serves.
        let serving = place.serving(TENANT).await.unwrap().unwrap();
        assert_eq!(serving.health, Health::Healthy);
        assert!(
            fails == 3 || serving.release == Some(one.release),
            "{fails}"
        );
        app.lock().unwrap().fails = None;
        deployed(&place, &two).await;
        serves(&place, &two).await;
        assert_eq!(app.lock().unwrap().machines.len(), 1);
    }
}

#[tokio::test]
async fn what_the_platform_refuses_is_said() {
    let app = Arc::default();
    let error = place(&app, "fo1_bad").serving(TENANT).await.unwrap_err();
    assert_eq!(error.code(), "deploy/place");
    let text = error.to_string();
    assert!(
        text.contains("401") && text.contains("token validation"),
        "{text}"
    );
    assert!(!text.contains("fo1_bad"));
    let none = wanted(TENANT, "none", "none");
    let error = place(&app, "fo1_good").health(&none).await.unwrap_err();
    assert_eq!(error.code(), "deploy/not-started");
}
