//! Jobs and the daemon: what runs, that it runs once, and what is recorded of it.

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    super::{
        daemon::Daemon,
        files::watching::wait_until,
        scenario::{Place, done},
    },
    desk::{Desk, SOURCES, page},
};

/// A workspace with a page and these jobs.
fn desk<'p>(place: &'p Place<'p>, jobs: &str) -> Desk<'p> {
    let desk = Desk::new(place);
    fill(&desk, jobs);
    desk
}

/// Gives a workspace a page and these jobs.
fn fill(desk: &Desk<'_>, jobs: &str) {
    desk.write("content/config.yaml", SOURCES);
    desk.write("content/blog/one.md", &page("one", "Hello."));
    desk.write(
        "access-control/agents.yaml",
        "rules:\n- entity_type: agent\n  entity_id: a\n  roles: [x]\n",
    );
    let config = desk.workspace.root().join("sync.toml");
    let text = fs::read_to_string(&config).expect("read sync.toml");
    fs::write(config, format!("{text}\n{jobs}")).expect("write sync.toml");
}

const BODY: &str = "SELECT body FROM markdown_content";
/// Every run of a job, oldest first.
const RUNS: &str = "SELECT string_agg(job || ':' || state, ' ' ORDER BY id) FROM sync.job_run";

pub(super) fn jobs_run_and_are_recorded(place: &Place) {
    let desk = desk(
        place,
        "[[jobs]]\nname = \"nightly\"\nschedule = \"0 3 * * *\"\nrun = \"push access-control content\"\n",
    );
    let jobs = desk.call(&["jobs", "list"]).ok().json()["jobs"].clone();
    let names: Vec<_> = (0..3).map(|at| jobs[at]["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            Some("nightly"),
            Some("content_sync"),
            Some("access_control_sync")
        ]
    );
    assert!(jobs[0]["next"].as_u64().is_some(), "{jobs}");
    desk.call(&["jobs", "history"]).ok();
    let run = desk.call(&["jobs", "run", "nightly"]).ok().json()["run"].clone();
    assert_eq!(run["results"]["content"]["created"], 1);
    assert_eq!(run["results"]["access-control"]["created"], 1);
    assert_eq!(run["state"], "completed");
    // Either direction, in every way in which it may be written.
    for (at, direction) in ["to_db", "to-db", "db", "to_database"]
        .into_iter()
        .enumerate()
    {
        let body = format!("Disk {at}.");
        desk.write("content/blog/one.md", &page("one", &body));
        desk.call(&["jobs", "run", "content_sync", "--direction", direction])
            .ok();
        assert_eq!(desk.ask(BODY), body);
    }
    for (at, direction) in ["to_disk", "to-disk", "disk"].into_iter().enumerate() {
        let body = format!("Database {at}.");
        desk.ask(&format!("UPDATE markdown_content SET body = '{body}'"));
        desk.call(&["jobs", "run", "content_sync", "--direction", direction])
            .ok();
        assert_eq!(desk.read("content/blog/one.md"), page("one", &body));
    }
    // Both sides changed: the job fails, unless it was told who is right.
    desk.write("content/blog/one.md", &page("one", "Mine."));
    desk.ask("UPDATE markdown_content SET body = 'Yours.'");
    let failed = desk.call(&["jobs", "run", "content_sync"]).exits(1).json();
    assert_eq!(
        failed["run"]["errors"][0]["code"], "local/conflict",
        "{failed}"
    );
    desk.call(&["jobs", "run", "content_sync", "--override-existing"])
        .ok();
    assert_eq!(desk.ask(BODY), "Mine.");
    // What is gone goes only when that was asked for.
    desk.write("content/blog/two.md", &page("two", "Second."));
    desk.call(&["jobs", "run", "content_sync"]).ok();
    desk.remove("content/blog/two.md");
    desk.call(&["jobs", "run", "content_sync"]).ok();
    assert_eq!(desk.ask("SELECT count(*) FROM markdown_content"), "2");
    desk.call(&["jobs", "run", "content_sync", "--delete-orphans"])
        .ok();
    assert_eq!(desk.ask("SELECT count(*) FROM markdown_content"), "1");
    desk.call(&["jobs", "run", "access_control_sync"]).ok();
    let history = desk
        .call(&["jobs", "history", "content_sync", "-n", "2"])
        .ok()
        .json();
    assert_eq!(
        history["runs"][0]["results"]["content"]["deleted"], 1,
        "{history}"
    );
    assert_eq!(history["runs"].as_array().map(Vec::len), Some(2));
    desk.call(&["jobs", "run", "nobody"])
        .exits(2)
        .says("engine/no-job");
    desk.call(&["jobs", "run", "nightly", "--direction", "disk"])
        .exits(2)
        .says("engine/config");
}

pub(super) fn a_job_runs_one_at_a_time(place: &Place) {
    let desk = desk(place, "");
    desk.call(&["jobs", "run", "content_sync"]).ok();
    desk.write("content/blog/one.md", &page("one", "Edited."));
    let mut other = desk.db.session();
    done(other.ask("BEGIN; LOCK markdown_content IN ACCESS EXCLUSIVE MODE"));
    let mut command = desk
        .workspace
        .cli()
        .command(&["jobs", "run", "content_sync"]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().expect("run sync-cli");
    wait_until("a run that waits", || {
        desk.ask("SELECT count(*) FROM sync.job_run WHERE state = 'running'") == "1"
    });
    desk.call(&["jobs", "run", "content_sync"])
        .exits(4)
        .says("engine/job-running");
    // Another job is not held up by it.
    desk.call(&["jobs", "run", "access_control_sync"]).ok();
    // Whoever runs it dies: its turn is free at once, and the record says what became of it.
    let state = || {
        let history = desk.call(&["jobs", "history", "content_sync", "-n", "1"]);
        history.ok().json()["runs"][0]["state"].clone()
    };
    assert_eq!(state(), "running");
    running.kill().expect("kill sync-cli");
    running.wait().expect("wait for sync-cli");
    done(other.ask("ROLLBACK"));
    wait_until("that history says so", || state() == "interrupted");
    wait_until("the end of its connection", || {
        desk.call(&["jobs", "run", "content_sync"]).code == 0
    });
    assert_eq!(
        desk.ask(RUNS),
        "content_sync:completed content_sync:interrupted access_control_sync:completed content_sync:completed"
    );
    assert_eq!(desk.ask(BODY), "Edited.");
}

pub(super) fn a_daemon_keeps_items_beside_jobs(place: &Place) {
    let desk = desk(
        place,
        "[daemon]\ntargets = [\"content\", \"files\"]\n\
        [[jobs]]\nname = \"nightly\"\nschedule = \"0 3 * * *\"\nrun = \"push access-control\"\n",
    );
    let daemon = Daemon::start(&desk.workspace, place.directory(), "here");
    let has = |body: &str| wait_until(body, || desk.ask(BODY) == body);
    has("Hello.");
    desk.write("content/blog/one.md", &page("one", "Edited."));
    has("Edited.");
    let status = daemon.status();
    assert_eq!(status["jobs"][0]["name"], "nightly", "{status:#}");
    assert!(status["jobs"][0]["next"].is_u64(), "{status:#}");
    // What is no page is told, and holds up neither others nor what is saved later.
    desk.write("content/blog/two.md", "---\ntitle: [\n---\n");
    wait_until("that it says so", || {
        let code = daemon.status()["sync"]["last_error"]["code"].clone();
        code.as_str().is_some_and(|code| code.starts_with("local/"))
    });
    desk.write("content/blog/two.md", &page("two", "Second."));
    wait_until("the second page", || {
        desk.ask("SELECT count(*) FROM markdown_content") == "2"
    });
    daemon.until("watching");
    assert!(daemon.status()["sync"]["snapshot"].is_string());
    daemon.ends_at_once();
}

/// It lasts until a minute has passed: that is how often cron can say that something is due.
pub(super) fn of_two_daemons_one_does_a_run(place: &Place) {
    let jobs = "[daemon]\ntargets = []\n\
        [[jobs]]\nname = \"often\"\nschedule = \"* * * * *\"\nrun = \"push content\"\n\
        [[jobs]]\nname = \"busy\"\nschedule = \"* * * * *\"\nrun = \"pull content\"\n\
        [[jobs]]\nname = \"daily\"\nschedule = \"0 3 * * *\"\nrun = \"push access-control\"\n";
    let desk = desk(place, jobs);
    // A workspace has one daemon: the other one is that of another copy beside the same database.
    let copy = desk.elsewhere("there");
    fill(&copy, jobs);
    // The bookkeeping is there, and somebody has run a job three days ago.
    desk.call(&["jobs", "run", "access_control_sync"]).ok();
    desk.ask(
        "INSERT INTO sync.job_run (job, scheduled_for, started_at, ended_at, state) \
        SELECT 'daily', t, t, t, 'completed' FROM (SELECT now() - interval '72 hours') u(t)",
    );
    // Nothing is due while they start, and then soon: what waits for a lock gives up after 30 s.
    let since_minute = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("a clock").as_secs() % 60
    };
    wait_until("the end of a minute", || (38..48).contains(&since_minute()));
    let daemons = [(&desk, "one"), (&copy, "two")]
        .map(|(desk, name)| Daemon::start(&desk.workspace, place.directory(), name));
    let missed = "SELECT string_agg(missed::text, ' ') FROM sync.job_run WHERE state = 'missed'";
    wait_until("what was missed", || desk.ask(missed) == "3");
    let told = |event: &str| {
        daemons
            .iter()
            .map(|daemon| daemon.told(event))
            .sum::<usize>()
    };
    wait_until("that one of them tells", || told("job:missed") == 1);
    // Somebody takes what is due next for missed: it is done all the same.
    desk.ask(
        "INSERT INTO sync.job_run (job, scheduled_for, started_at, ended_at, state, missed) \
        SELECT 'often', t, now(), now(), 'missed', 1 FROM (SELECT date_trunc('minute', now()) + interval '1 minute') u(t)",
    );
    // The run that is due next hangs: the other daemon leaves it alone.
    let mut other = desk.db.session();
    done(other.ask("BEGIN; LOCK markdown_content IN ACCESS EXCLUSIVE MODE"));
    // A person's run of another job hangs, too: what is due of that meanwhile is missed.
    let mut command = desk.workspace.cli().command(&["jobs", "run", "busy"]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut by_hand = command.spawn().expect("run sync-cli");
    let busy = "SELECT string_agg(state, ' ' ORDER BY id) FROM sync.job_run WHERE job = 'busy'";
    wait_until("the run by hand", || desk.ask(busy) == "running");
    let began = Instant::now();
    while told("job:elsewhere") < 1 {
        assert!(began.elapsed() < Duration::from_secs(90), "nothing was due");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(told("job:elsewhere"), 1);
    let [one, two] = daemons;
    let (runs, idle) = if one.told("job:elsewhere") == 1 {
        (two, one)
    } else {
        (one, two)
    };
    wait_until("what was missed meanwhile", || {
        desk.ask(busy) == "running missed"
    });
    wait_until("that it is told", || {
        idle.told("job:missed") + runs.told("job:missed") == 2
    });
    idle.terminate();
    let took = idle.wait();
    assert!(took < Duration::from_secs(1), "{took:?}");
    // The other one is told, too, and ends once its run has ended.
    runs.terminate();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let mut looking = desk.db.session();
    wait_until("the runs that wait", || done(looking.ask(waits)) == "2");
    done(other.ask("ROLLBACK"));
    runs.wait();
    assert!(by_hand.wait().expect("wait for sync-cli").success());
    assert_eq!(desk.ask(busy), "completed missed");
    assert_eq!(
        desk.ask("SELECT string_agg(state, ' ') FROM sync.job_run WHERE job = 'often'"),
        "completed"
    );
    assert_eq!(desk.ask(BODY), "Hello.");
    assert_eq!(desk.ask(&format!("{missed} AND job = 'daily'")), "3");
}
