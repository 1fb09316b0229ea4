//! `mcp` spoken to line by line: what a client may send, and that nothing but answers comes back.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{Desk, put, read};

/// A server of one client.
struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    last: u64,
}

impl Agent {
    /// One that has not been greeted yet.
    fn start(desk: &Desk, root: &Path, words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sync-cli"))
            .arg("-C")
            .arg(root)
            .args(["--output", "ndjson", "mcp"])
            .args(words)
            .env_clear()
            .env("HOME", desk.dir.path())
            .env("SYNC_AUTHOR", "ada")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            last: 0,
        }
    }

    fn greeted(desk: &Desk, root: &Path, words: &[&str]) -> Self {
        let mut agent = Self::start(desk, root, words);
        let greeting = json!({
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "0"},
        });
        let answer = agent.ask("initialize", &greeting);
        assert_eq!(answer["result"]["serverInfo"]["name"], "sync-cli");
        assert_eq!(answer["result"]["capabilities"], json!({"tools": {}}));
        agent.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        agent
    }

    fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    fn begin(&mut self, method: &str, params: &Value) -> u64 {
        self.last += 1;
        let id = self.last;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.say(&request.to_string());
        id
    }

    /// The next line, which must be a message.
    fn heard(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let message: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: stdout has `{line}`"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.begin(method, params);
        let mut answer = self.heard();
        // One of a call that was cancelled may have been under way.
        while answer["method"] == "notifications/progress" {
            answer = self.heard();
        }
        assert_eq!(answer["id"], id, "{answer:#}");
        answer
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let answer = self.ask("tools/call", &json!({"name": tool, "arguments": arguments}));
        let result = &answer["result"];
        // Clients that know no structured results read the same.
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(
            serde_json::from_str::<Value>(text).unwrap(),
            result["structuredContent"]
        );
        result.clone()
    }

    #[track_caller]
    fn done(&mut self, tool: &str, arguments: &Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result:#}");
        result["structuredContent"].clone()
    }

    #[track_caller]
    fn fails(&mut self, tool: &str, arguments: &Value, code: &str) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result:#}");
        let told = result["structuredContent"].clone();
        let error = &told["errors"][0];
        assert_eq!(error["code"], code, "{told:#}");
        assert!(error["message"].is_string(), "{told:#}");
        told
    }

    /// Closes its stdin; it ends by itself, and has nothing more to say.
    fn end(mut self) {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.stdout.read_line(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

/// Everything below a directory, with when it was changed.
fn traces(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            found.push(format!(
                "{} {} {:?}",
                entry.path().display(),
                metadata.len(),
                metadata.modified().unwrap()
            ));
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

const PUSH: &str = r#"{"target": "files", "direction": "push"}"#;

fn sync(direction: &str, dry_run: bool) -> Value {
    json!({"target": "files", "direction": direction, "dry_run": dry_run})
}

#[test]
fn an_agent_syncs_as_a_person_does() {
    let desk = Desk::new();
    let (work, other) = (desk.workspace("work"), desk.workspace("other"));
    put(&work, "agents/a.yaml", "a\n");
    let mut agent = Agent::greeted(&desk, &work, &[]);

    // Nothing is changed unasked, not even what is private.
    let before = traces(desk.dir.path());
    let shown = agent.done("sync", &serde_json::from_str(PUSH).unwrap());
    assert_eq!(
        (&shown["dry_run"], &shown["operation"]),
        (&true.into(), &"push files".into())
    );
    assert_eq!(shown["changes"][0]["path"], "agents/a.yaml");
    assert_eq!(before, traces(desk.dir.path()));

    let pushed = agent.done("sync", &sync("push", false));
    assert_eq!(pushed["state"]["kind"], "completed", "{pushed:#}");
    let snapshot = pushed["snapshot"].as_str().unwrap();
    assert_eq!(
        agent.done("log", &json!({}))["snapshots"][0]["id"],
        snapshot
    );
    let status = agent.done("status", &json!({}));
    assert_eq!(status["files"]["standing"], "in_sync", "{status:#}");

    // The command line tells the same.
    let mut told = desk.json(&work, &["diff", "files", "--stat"], 0);
    let mut heard = agent.done("diff", &json!({"target": "files", "stat": true}));
    for report in [&mut told, &mut heard] {
        report["duration_ms"] = Value::Null;
    }
    assert_eq!(told, heard);

    desk.json(&other, &["pull"], 0);
    put(&other, "agents/a.yaml", "other\n");
    desk.json(&other, &["push"], 0);
    agent.done("sync", &sync("pull", false));
    assert_eq!(read(&work, "agents/a.yaml"), "other\n");
    let diff = agent.done("diff", &json!({"from": snapshot, "target": "files"}));
    assert_eq!(diff["changes"][0]["path"], "agents/a.yaml", "{diff:#}");

    // What both sides changed is left to a person.
    put(&other, "agents/a.yaml", "theirs\n");
    desk.json(&other, &["push"], 0);
    put(&work, "agents/a.yaml", "ours\n");
    let refused = agent.fails("sync", &sync("pull", false), "engine/conflict");
    assert_eq!(refused["conflicts"][0]["path"], "agents/a.yaml");
    assert_eq!(read(&work, "agents/a.yaml"), "ours\n");
    assert_eq!(agent.done("conflicts", &json!({}))["conflicts"], json!([]));
    agent.end();
}

#[test]
fn several_calls_at_once_do_not_stand_in_each_others_way() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    for n in 0..200 {
        put(&work, &format!("{n}.md"), &format!("{n}\n").repeat(500));
    }
    let mut agent = Agent::greeted(&desk, &work, &[]);
    let mut calls = Vec::new();
    for n in 0..12 {
        let params = match n % 4 {
            0 => json!({"name": "sync", "arguments": sync("push", false)}),
            1 => json!({"name": "sync", "arguments": sync("pull", true)}),
            2 => json!({"name": "status", "arguments": {}}),
            _ => json!({"name": "diff", "arguments": {"stat": true}}),
        };
        calls.push(agent.begin("tools/call", &params));
    }
    for _ in 0..calls.len() {
        let answer = agent.heard();
        assert_eq!(answer["result"]["isError"], false, "{answer:#}");
        calls.retain(|id| answer["id"] != *id);
    }
    assert!(calls.is_empty(), "{calls:?}");
    assert_eq!(
        desk.json(&work, &["log"], 0)["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    agent.end();
}

#[test]
fn progress_is_told_to_those_who_ask() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    for n in 0..50 {
        put(&work, &format!("{n}.md"), &format!("{n}\n").repeat(5000));
    }
    let mut agent = Agent::greeted(&desk, &work, &[]);
    let params = json!({
        "name": "sync", "arguments": sync("push", false), "_meta": {"progressToken": "p"},
    });
    let id = agent.begin("tools/call", &params);
    let mut last = 0.0;
    let mut notified = 0;
    let answer = loop {
        let message = agent.heard();
        if message["method"] != "notifications/progress" {
            break message;
        }
        let told = &message["params"];
        assert_eq!(told["progressToken"], "p");
        let progress = told["progress"].as_f64().unwrap();
        assert!(progress > last, "{told} after {last}");
        assert!(
            told["total"].as_f64().is_none_or(|total| total >= progress),
            "{told}"
        );
        assert!(told["message"].is_string());
        (last, notified) = (progress, notified + 1);
    };
    assert_eq!(answer["id"], id);
    assert_eq!(answer["result"]["isError"], false, "{answer:#}");
    assert!(notified > 0);
    agent.end();
}

#[test]
fn what_is_read_only_changes_nothing() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "a.md", "a\n");
    let mut agent = Agent::greeted(&desk, &work, &["--read-only"]);
    let hints = |agent: &mut Agent| {
        let listed = agent.ask("tools/list", &json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap().clone();
        tools
            .into_iter()
            .map(|tool| {
                let hints = &tool["annotations"];
                (
                    tool["name"].as_str().unwrap().to_owned(),
                    hints["readOnlyHint"] == true,
                    hints["destructiveHint"] == true,
                )
            })
            .collect::<Vec<_>>()
    };
    let expected = |writes: bool| {
        let tools = ["sync", "status", "diff", "log", "conflicts"];
        tools.map(|tool| {
            let writes = writes && tool == "sync";
            (tool.to_owned(), !writes, writes)
        })
    };
    assert_eq!(hints(&mut agent), expected(false));
    let before = traces(desk.dir.path());
    agent.fails("sync", &sync("push", false), "cli/read-only");
    assert_eq!(agent.done("sync", &sync("push", true))["dry_run"], true);
    assert_eq!(before, traces(desk.dir.path()));
    agent.end();

    let mut agent = Agent::greeted(&desk, &work, &[]);
    assert_eq!(hints(&mut agent), expected(true));
    let listed = agent.ask("tools/list", &json!({}));
    assert_eq!(
        listed["result"]["tools"][0]["inputSchema"],
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
    agent.end();
}

#[test]
fn what_makes_no_sense_is_refused_and_survived() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "a.md", "a\n");
    let mut agent = Agent::greeted(&desk, &work, &[]);
    for arguments in [
        json!({}),
        json!({"target": "files", "direction": "sideways"}),
        json!({"target": "files", "direction": "push", "yes": true}),
        json!({"target": "files", "direction": "push", "dry_run": "no"}),
    ] {
        let told = agent.fails("sync", &arguments, "cli/arguments");
        assert_eq!(told["exit_code"], 2, "{told:#}");
        assert!(told["errors"][0]["hint"].is_string(), "{told:#}");
    }
    agent.fails(
        "sync",
        &json!({"target": "database", "direction": "push", "filter": "a"}),
        "cli/no-filter",
    );
    let unknown = agent.ask("tools/call", &json!({"name": "rm", "arguments": {}}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown:#}");
    let unknown = agent.ask("tools/frob", &json!({}));
    assert_eq!(unknown["error"]["code"], -32601, "{unknown:#}");

    agent.say("this is no JSON");
    agent.say("{\"jsonrpc\": \"2.0\"}");
    let refused = agent.heard();
    assert_eq!(refused["error"]["code"], -32600, "{refused:#}");
    agent.say("[1, 2");
    assert_eq!(agent.ask("ping", &json!({}))["result"], json!({}));

    // A guard holds: nobody is asked, and `--yes` does not exist here.
    for n in 0..30 {
        put(&work, &format!("{n}.md"), "x\n");
    }
    agent.done("sync", &sync("push", false));
    fs::remove_dir_all(work.join("services")).unwrap();
    fs::create_dir(work.join("services")).unwrap();
    agent.fails("sync", &sync("push", false), "engine/empties");
    agent.end();

    let nowhere = desk.root("nowhere");
    fs::create_dir(&nowhere).unwrap();
    let mut agent = Agent::greeted(&desk, &nowhere, &[]);
    agent.fails("status", &json!({}), "engine/no-workspace");
    agent.end();
    // A client that says nothing is no failure.
    Agent::start(&desk, &work, &[]).end();
}

/// What is cancelled is not answered, leaves nothing half done, and what comes after it is.
#[test]
fn a_call_is_taken_back() {
    let desk = Desk::new();
    let (work, other) = (desk.workspace("work"), desk.workspace("other"));
    for n in 0..2000 {
        put(
            &work,
            &format!("{}/{n}.md", n % 40),
            &format!("{n}\n").repeat(200),
        );
    }
    desk.json(&work, &["push"], 0);
    let mut agent = Agent::greeted(&desk, &other, &[]);
    for _ in 0..4 {
        let params = json!({
            "name": "sync", "arguments": sync("pull", false), "_meta": {"progressToken": 1},
        });
        let id = agent.begin("tools/call", &params);
        let mut message = agent.heard();
        // It runs: it has something to tell.
        if message["method"] == "notifications/progress" {
            let cancelled = json!({
                "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
            });
            agent.say(&cancelled.to_string());
        }
        let ping = agent.begin("ping", &json!({}));
        while message["id"] != ping {
            message = agent.heard();
        }
    }
    let pulled = agent.done("sync", &sync("pull", false));
    assert_eq!(pulled["success"], true, "{pulled:#}");
    assert_eq!(
        agent.done("status", &json!({}))["files"]["standing"],
        "in_sync"
    );
    assert_eq!(read(&other, "39/1999.md"), read(&work, "39/1999.md"));
    agent.end();
}
