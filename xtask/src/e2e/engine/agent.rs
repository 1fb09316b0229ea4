//! An agent: `sync-cli mcp` beside a client of another ecosystem, the official SDK of Python.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    super::{
        files::watching::wait_until,
        rows::stage::{DEFAULTS, ITEMS, Served, Side, Stage},
        scenario::{Place, done},
        trees,
    },
    all::{save, snapshots, state},
    terminated,
};
use crate::{proxy::Proxy, python};

/// The SDK from `PyPI` that stands for all clients.
const SDK: &str = "2.3.0";

/// What the client does.
const CLIENT: &str = include_str!("agent.py");

/// The server as a client starts it, and how both come to a version of the protocol.
#[derive(Clone, Copy)]
struct Agent<'s> {
    side: &'s Side<'s>,
    words: &'s [&'s str],
    /// `legacy` greets first, `auto` asks for what came after that.
    mode: &'s str,
}

impl Agent<'_> {
    /// Takes steps one after the other, in one session; what came of each.
    #[track_caller]
    fn take(self, steps: &[Value]) -> Vec<Value> {
        let python = done(python::with_package("mcp", SDK));
        let cli = self
            .side
            .workspace
            .cli()
            .command(&[&["mcp"], self.words].concat());
        let words: Vec<_> = cli.get_args().map(|word| word.to_string_lossy()).collect();
        let env: serde_json::Map<String, Value> = cli
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?)))
            .map(|(key, value)| {
                let value = value.to_string_lossy().into_owned();
                (key.to_string_lossy().into_owned(), value.into())
            })
            .collect();
        let asked = json!({
            "command": cli.get_program().to_string_lossy(), "args": words, "env": env,
            "mode": self.mode, "steps": steps,
        });
        let mut client = Command::new(python)
            .args(["-c", CLIENT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start python");
        let mut stdin = client.stdin.take().expect("its stdin");
        stdin.write_all(asked.to_string().as_bytes()).expect("ask");
        drop(stdin);
        let output = client.wait_with_output().expect("wait");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// The result of one call, which must not be an error.
    #[track_caller]
    fn done(self, name: &str, arguments: &Value) -> Value {
        result(&self.take(&[call(name, arguments)])[0], false)
    }
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({"do": "call", "name": name, "arguments": arguments})
}

fn sync(target: &str, direction: &str, dry_run: Option<bool>) -> Value {
    let mut arguments = json!({"target": target, "direction": direction});
    if let Some(dry_run) = dry_run {
        arguments["dry_run"] = dry_run.into();
    }
    arguments
}

/// What a call gave, as clients with and without structured results read it.
#[track_caller]
fn result(answer: &Value, is_error: bool) -> Value {
    let result = &answer["result"];
    assert_eq!(result["isError"], is_error, "{answer:#}");
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let read: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(read, result["structuredContent"]);
    read
}

#[track_caller]
fn assert_fails(answer: &Value, code: &str) {
    let told = result(answer, true);
    assert_eq!(told["success"], false, "{told:#}");
    assert_eq!(told["errors"][0]["code"], code, "{told:#}");
}

pub(super) fn an_agent_lists_the_tools(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    for (mode, words) in [
        ("legacy", &[][..]),
        ("auto", &[]),
        ("auto", &["--read-only"]),
    ] {
        let agent = Agent {
            side: &here,
            words,
            mode,
        };
        let listed = agent.take(&[json!({"do": "list"})]);
        let tools = listed[0]["tools"].as_array().expect("tools");
        let names: Vec<_> = tools
            .iter()
            .filter_map(|tool| tool["name"].as_str())
            .collect();
        assert_eq!(names, ["sync", "status", "diff", "log", "conflicts"]);
        assert_eq!(
            tools[0]["inputSchema"],
            json!({
                "type": "object",
                "properties": {
                    "target": {
                        "type": "string",
                        "enum": ["files", "database", "content", "skills", "access-control", "all"],
                    },
                    "direction": {"type": "string", "enum": ["push", "pull"]},
                    "dry_run": {"type": "boolean", "default": true},
                    "filter": {"type": "string"},
                },
                "required": ["target", "direction"],
                "additionalProperties": false,
            })
        );
        for tool in tools {
            let only_reads = tool["name"] != "sync" || !words.is_empty();
            let hints = &tool["annotations"];
            assert_eq!(hints["readOnlyHint"], only_reads, "{tool:#}");
            assert_eq!(hints["destructiveHint"], !only_reads, "{tool:#}");
            assert_eq!(hints["idempotentHint"], true, "{tool:#}");
            assert_eq!(tool["inputSchema"]["additionalProperties"], false);
        }
    }
}

pub(super) fn an_agent_syncs_files_and_rows(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    save(&here, "agents/triage.yaml", "name: triage\n");
    here.ask("INSERT INTO items (id, a) VALUES ('i1', 'x')");
    let agent = Agent {
        side: &here,
        words: &[],
        mode: "auto",
    };

    // A plan is noted nowhere.
    let private = here.workspace.root().join(".sync");
    let before = trees::moments(&private);
    let plans = ["all", "files", "database"].map(|target| {
        ["push", "pull"].map(|direction| call("sync", &sync(target, direction, None)))
    });
    agent.take(&plans.concat());
    assert_eq!(trees::moments(&private), before);
    let shown = agent.done("sync", &sync("all", "push", None));
    assert_eq!(trees::moments(&private), before);
    assert_eq!(shown["dry_run"], true, "{shown:#}");
    for target in ["files", "database"] {
        assert_eq!(state(&shown, target), "not_started", "{shown:#}");
    }
    assert_eq!(snapshots(&here), 0);
    assert_eq!(stage.tenant.ask("SELECT count(*) FROM items"), "0");

    let pushed = agent.done("sync", &sync("all", "push", Some(false)));
    assert_eq!(pushed["state"]["kind"], "completed", "{pushed:#}");
    assert_eq!(pushed["items_synced"], 2, "{pushed:#}");
    assert_eq!(snapshots(&here), 1);
    stage.assert_equal(&here);
    let other = Agent {
        side: &there,
        mode: "legacy",
        ..agent
    };
    let pulled = other.done("sync", &sync("all", "pull", Some(false)));
    assert_eq!(pulled["state"]["kind"], "completed", "{pulled:#}");
    trees::assert_same(&here.workspace.services(), &there.workspace.services());
    stage.assert_equal(&there);

    let looked = agent.take(&[
        call("status", &json!({})),
        call("log", &json!({"limit": 1})),
        call("diff", &json!({"target": "database"})),
        call("conflicts", &json!({})),
    ]);
    let told: Vec<Value> = looked.iter().map(|answer| result(answer, false)).collect();
    assert_eq!(told[0]["files"]["standing"], "in_sync", "{:#}", told[0]);
    assert_eq!(told[0]["database"]["standing"], "in_sync", "{:#}", told[0]);
    assert_eq!(told[1]["snapshots"][0]["id"], pushed["snapshot"]);
    assert_eq!(told[2]["operation"], "diff database", "{:#}", told[2]);
    assert_eq!(told[3]["conflicts"], json!([]));

    // A row that both changed is a person's to choose; the list of it is no error.
    here.ask("UPDATE items SET a = 'here'");
    there.ask("UPDATE items SET a = 'there'");
    agent.done("sync", &sync("database", "push", Some(false)));
    let stuck = other.take(&[
        call("sync", &sync("database", "pull", Some(false))),
        call("conflicts", &json!({})),
    ]);
    assert_fails(&stuck[0], "engine/conflict");
    let open = result(&stuck[1], false);
    assert_eq!(open["conflicts"][0]["resolution"], Value::Null, "{open:#}");
    let id = open["conflicts"][0]["id"].clone();
    let one = other.done("conflicts", &json!({"id": id}));
    assert_eq!(one["conflict"]["id"], id, "{one:#}");
    assert_eq!(there.ask("SELECT a FROM items"), "there");
}

pub(super) fn an_agent_syncs_items(place: &Place) {
    let stage = Stage::new(place, DEFAULTS);
    let here = stage.side("here");
    save(
        &here,
        "content/config.yaml",
        "content_sources:\n  blog: {path: content/blog}\n",
    );
    let page = "content/blog/first.md";
    let text = "---\ntitle: The first\nslug: first\nkind: article\nauthor: Ada\npublished_at: 2026-10-06\n---\n\nText.\n";
    save(&here, page, text);
    let agent = Agent {
        side: &here,
        words: &[],
        mode: "auto",
    };
    let pages = || here.ask("SELECT count(*) FROM markdown_content");
    let shown = agent.done("sync", &sync("content", "push", None));
    assert_eq!(shown["dry_run"], true, "{shown:#}");
    assert_eq!(shown["changes"][0]["verdict"], "create", "{shown:#}");
    assert_eq!(pages(), "0");
    let pushed = agent.done("sync", &sync("content", "push", Some(false)));
    assert_eq!(pushed["operation"], "push content", "{pushed:#}");
    assert_eq!(pages(), "1");
    here.ask("UPDATE markdown_content SET title = 'Another'");
    agent.done("sync", &sync("content", "pull", Some(false)));
    let path = here.workspace.services().join(page);
    let pulled = std::fs::read_to_string(path).expect("read");
    assert_eq!(pulled, text.replace("The first", "Another"));
    for kind in ["skills", "access-control"] {
        let none = agent.done("sync", &sync(kind, "push", Some(false)));
        assert_eq!(none["created"], 0, "{none:#}");
        let status = agent.done("status", &json!({"target": kind}));
        assert_eq!(status[kind]["standing"], "in_sync", "{status:#}");
    }
}

pub(super) fn an_agent_is_held_to_its_arguments(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    save(&here, "a.md", "a\n");
    let agent = Agent {
        side: &here,
        words: &["--read-only"],
        mode: "auto",
    };
    // It makes the private directory.
    here.call(&["status"]).ok();
    let before = trees::traces(here.workspace.root());
    let answers = agent.take(&[
        call("sync", &sync("files", "push", Some(false))),
        call("sync", &sync("files", "push", Some(true))),
        call(
            "sync",
            &json!({"target": "files", "direction": "push", "yes": true}),
        ),
        call("sync", &json!({"target": "nothing", "direction": "push"})),
        call("sync", &json!({"target": "files"})),
        call("status", &json!({"exit_code": true})),
        call("frob", &json!({})),
    ]);
    assert_fails(&answers[0], "cli/read-only");
    assert_eq!(result(&answers[1], false)["dry_run"], true);
    for answer in &answers[2..6] {
        assert_fails(answer, "cli/arguments");
    }
    let unknown = answers[6]["refused"].as_str().unwrap_or_default();
    assert!(unknown.contains("frob"), "{:#}", answers[6]);
    trees::assert_untouched(here.workspace.root(), &before);
    assert_eq!(snapshots(&here), 0);
}

pub(super) fn an_agent_sees_progress_and_may_cancel(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    let text = "some line of a skill that is neither short nor long\n".repeat(400);
    for n in 0..1500 {
        save(
            &here,
            &format!("skills/{}/{n}.md", n % 30),
            &format!("{n}\n{text}"),
        );
    }
    here.ask("INSERT INTO items (id, a) SELECT 'i' || i, repeat('x', 200) FROM generate_series(1, 20000) i");
    let of = |side, mode| Agent {
        side,
        words: &[],
        mode,
    };
    let call = |direction: &str, cancel: bool| {
        json!({
            "do": "call", "name": "sync", "arguments": sync("all", direction, Some(false)),
            "progress": true, "cancel": cancel,
        })
    };
    for (mode, side, direction) in [("legacy", &here, "push"), ("auto", &there, "pull")] {
        // Cancelled where it has begun, again and again, and then done.
        let answers = of(side, mode).take(&[
            call(direction, true),
            call(direction, true),
            call(direction, true),
            call(direction, false),
        ]);
        assert_eq!(answers[0]["cancelled"], true, "{:#}", answers[0]);
        let done = result(&answers[3], false);
        assert_eq!(done["success"], true, "{done:#}");
        stage.assert_equal(side);
        let told = answers[3]["told"].as_array().expect("notifications");
        let mut last = 0.0;
        for told in told {
            let progress = told["progress"].as_f64().expect("a number");
            assert!(progress > last, "{told} after {last}");
            last = progress;
        }
        let seconds = done["duration_ms"]
            .as_u64()
            .unwrap_or_default()
            .div_ceil(1000);
        let most = 10 * usize::try_from(seconds).unwrap_or(usize::MAX) + 2;
        assert!(
            (1..=most).contains(&told.len()),
            "{} in {seconds} s",
            told.len()
        );
    }
    trees::assert_same(&here.workspace.services(), &there.workspace.services());
    here.call(&["verify"]).ok();
    there.call(&["verify"]).ok();
}

pub(super) fn an_agent_calls_several_at_once(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    for n in 0..300 {
        save(&here, &format!("{n}.md"), &format!("{n}\n").repeat(300));
    }
    here.ask("INSERT INTO items (id) SELECT 'i' || i FROM generate_series(1, 3000) i");
    let mut steps = Vec::new();
    for n in 0..12 {
        steps.push(match n % 4 {
            0 => call("sync", &sync("all", "push", Some(false))),
            1 => call("sync", &sync("all", "pull", None)),
            2 => call("status", &json!({})),
            _ => call("log", &json!({})),
        });
    }
    let agent = Agent {
        side: &here,
        words: &[],
        mode: "auto",
    };
    let answers = agent.take(&[json!({"do": "together", "steps": steps})]);
    for answer in answers[0].as_array().expect("answers") {
        result(answer, false);
    }
    assert_eq!(snapshots(&here), 1);
    stage.assert_equal(&here);
}

/// Pulls everything as the protocol has it, without an SDK, and ends the server by SIGTERM once so many bytes came through the
/// proxy; whether it had answered.
#[track_caller]
fn ended_in_a_call(side: &Side<'_>, proxy: &Proxy, bytes: u64) -> bool {
    let before = proxy.passed();
    let mut agent = terminated::Agent::start(&side.workspace);
    agent.sync("all", "pull");
    wait_until("what the call fetches", || {
        proxy.passed().since(before).received >= bytes
    });
    let said = agent.terminate(Duration::from_secs(5));
    let mut answers = said.lines().map(|line| {
        let answer: Value = serde_json::from_str(line).expect("every line is a message");
        answer
    });
    answers.any(|answer| answer["id"] == 2 && answer["result"]["isError"] == false)
}

pub(super) fn a_server_that_is_ended_in_a_call_leaves_nothing_half_done(place: &Place) {
    const FILES: u64 = 300;
    let own = place.own_server();
    let served = Served::by(&own);
    let stage = Stage::at(place, place.postgres(), served, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    there.track();
    let mut unanswered = 0;
    for (round, bytes) in (1u64..).zip([1, 5_000, 200_000, 1_000_000, 2_000_000, 2_900_000]) {
        for n in 0..FILES {
            let noise = trees::noise(round * FILES + n, 10_000);
            trees::write(&here.workspace.services(), format!("web/{n}.bin"), noise);
        }
        here.ask(&format!(
            "INSERT INTO items (id, n) SELECT 'r{round}-' || i, {round} FROM generate_series(1, 500) i"
        ));
        here.call(&["push", "--yes"]).ok();
        // An edit that nobody may lose.
        save(&there, "mine.md", &format!("round {round}\n"));
        let was_answered = ended_in_a_call(&there, &own.proxy, bytes);
        unanswered += u32::from(!was_answered);
        there.call(&["pull"]).ok();
        for n in 0..FILES {
            let read = |side: &Side<'_>| {
                let path = side.workspace.services().join(format!("web/{n}.bin"));
                std::fs::read(path).expect("read a file")
            };
            assert!(read(&here) == read(&there), "round {round}, file {n}");
        }
        let mine = there.workspace.services().join("mine.md");
        let mine = std::fs::read_to_string(mine).expect("read a file");
        assert_eq!(mine, format!("round {round}\n"));
        assert_eq!(here.rows(), there.rows());
    }
    assert!(unanswered > 0, "every call was answered before the end");
}
