//! Servers and networks that go away, and come back.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    super::{
        scenario::{OwnServer, done},
        server,
        trees::{self, assert_same, noise},
    },
    Place,
};
use crate::proxy::{Direction, How};

/// What a big push consists of; it is sent as it is, since nothing makes noise smaller.
const BIG: u64 = 96 << 20;

/// So much has been sent when the connection breaks.
const BREAK_AT: u64 = 64 << 20;

/// So much at least has to be kept: what was received, but for the pack that was being written.
const KEPT: u64 = 24 << 20;

fn write_big(own: &OwnServer) {
    for number in 0..12 {
        trees::write(
            &own.workspace.services(),
            format!("web/{number}.bin"),
            noise(100 + number, (BIG / 12) as usize),
        );
    }
    trees::sample(&own.workspace.services());
}

/// Pushes again and demands that only a part is sent, and that everything arrives.
fn push_the_rest(place: &Place, own: &OwnServer) {
    let rest = own.workspace.push().ok();
    let sent = rest.number("bytes_sent");
    assert!(sent < BIG - KEPT, "{sent} bytes of {BIG} were sent again");
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    there.pull().ok();
    assert_same(&own.workspace.services(), &there.services());
}

pub(super) fn a_server_that_is_away_is_named(place: &Place) {
    let token = place.create_tenant();
    let own = place.own_server();
    let address = own.server.address();
    done(own.server.stop());
    let here = place.workspace_at("nowhere", address, &token);
    trees::sample(&here.services());
    let began = Instant::now();
    here.push()
        .exits(4)
        .says(&format!("https://localhost:{}", address.port()));
    here.pull().exits(4);
    here.call(&["log"]).exits(4);
    assert!(
        began.elapsed() < Duration::from_secs(90),
        "it took too long to give up"
    );
}

pub(super) fn a_cut_push_sends_only_the_rest(place: &Place) {
    let own = place.own_server();
    write_big(&own);
    own.proxy.when_sent(BREAK_AT, |proxy| {
        proxy.stall();
        proxy.cut();
        proxy.retarget(([127, 0, 0, 1], 9).into());
    });
    own.workspace.push().exits(4);
    own.proxy.retarget(own.server.address());
    push_the_rest(place, &own);
}

pub(super) fn a_server_stopped_in_a_push_goes_on_after(place: &Place) {
    break_server(place, Signal::TERM);
}

pub(super) fn a_server_killed_in_a_push_goes_on_after(place: &Place) {
    break_server(place, Signal::KILL);
}

fn break_server(place: &Place, with: Signal) {
    let mut own = place.own_server();
    write_big(&own);
    let pid = own.server.pid().expect("the server runs");
    own.proxy.when_sent(BREAK_AT, move |proxy| {
        // Stopped gently, a server would otherwise wait for the rest and finish the push.
        proxy.stall();
        server::signal(pid, with);
    });
    own.workspace.push().exits(4);
    done(own.server.wait());
    own.server = place.start(&own.data);
    own.proxy.retarget(own.server.address());
    push_the_rest(place, &own);
}

pub(super) fn a_pull_that_is_cut_changes_nothing(place: &Place) {
    let own = place.own_server();
    write_big(&own);
    own.workspace.push().ok();
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    trees::write(&there.services(), "mine.md", "a file of my own\n");
    let before = trees::traces(&there.services());
    // A request to fetch is small: the first bytes of it are enough to know that the answer follows.
    let (proxy, mut child) = (
        own.proxy.clone(),
        there
            .cli()
            .command(&["pull", "files"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run sync-cli"),
    );
    let began = proxy.passed();
    while proxy.passed().since(began).received < BREAK_AT / 2 {
        let over = child.try_wait().expect("wait for sync-cli");
        assert!(over.is_none(), "the pull was over before it was cut");
        std::thread::yield_now();
    }
    proxy.retarget(([127, 0, 0, 1], 9).into());
    proxy.cut();
    let status = child.wait().expect("wait for sync-cli");
    assert_eq!(status.code(), Some(4));
    trees::assert_untouched(&there.services(), &before);
    own.proxy.retarget(own.server.address());
    there.pull().ok();
    fs::remove_file(there.services().join("mine.md")).expect("remove a file");
    assert_same(&own.workspace.services(), &there.services());
}

pub(super) fn a_cut_pull_fetches_only_the_rest(place: &Place) {
    let own = place.own_server();
    write_big(&own);
    own.workspace.push().ok();
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    let began = own.proxy.passed();
    let mut child = there
        .cli()
        .command(&["pull", "files"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run sync-cli");
    while own.proxy.passed().since(began).received < BREAK_AT / 2 {
        let over = child.try_wait().expect("wait for sync-cli");
        assert!(over.is_none(), "the pull was over before it was cut");
        std::thread::yield_now();
    }
    // Later connections pass: the same run asks for what it still lacks.
    own.proxy.cut();
    assert!(child.wait().expect("wait for sync-cli").success());
    let received = own.proxy.passed().since(began).received;
    assert!(received < BIG + KEPT, "{received} bytes came for {BIG}");
    assert_same(&own.workspace.services(), &there.services());
}

/// A tree whose map alone is large: long names that nothing makes smaller.
fn write_large_map(own: &OwnServer) {
    let names = noise(7, 6000 * 100);
    for (number, name) in names.as_chunks::<100>().0.iter().enumerate() {
        let digits = name.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let name: String = digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        let path = format!("{:02}/{name}", number % 20);
        trees::write(&own.workspace.services(), path, number.to_string());
    }
}

pub(super) fn a_cut_look_fetches_only_the_rest(place: &Place) {
    let own = place.own_server();
    write_large_map(&own);
    own.workspace.push().ok();
    // What a workspace that knows nothing is told, and what it takes.
    let look = |name: &str| {
        let fresh = place.workspace_at(name, own.proxy.address(), &own.token);
        let began = own.proxy.passed();
        let told = fresh.call(&["status"]).ok().json()["files"].clone();
        (told, own.proxy.passed().since(began).received)
    };
    let (told, all) = look("whole");
    assert_eq!(told["cloud"]["added"], 6000);
    // A reset would also take what waits in the kernel, and how much that is depends on the machine.
    own.proxy
        .break_at(Direction::Down, all * 7 / 10, How::Truncate);
    let (again, received) = look("cut");
    assert!(!own.proxy.mend(), "the connection was not cut");
    assert_eq!(again, told);
    // What was cut off in the middle of a block comes again; all of it would be 1.7 times.
    assert!(
        received < all * 115 / 100,
        "{received} bytes came for {all}: it began anew"
    );
}

pub(super) fn status_answers_beside_a_long_push(place: &Place) {
    let own = place.own_server();
    let here = &own.workspace;
    trees::sample(&here.services());
    here.push().ok();
    trees::write(&here.services(), "web/large.bin", noise(3, 8 << 20));
    trees::remove(&here.services(), "agents/triage.yaml");
    let before = own.proxy.passed();
    // It stays in the middle, with everything open that a push has open.
    own.proxy.break_at(Direction::Up, 1 << 20, How::Stall);
    let mut push = here
        .cli()
        .command(&["push", "files"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run sync-cli");
    while own.proxy.passed().since(before).sent < 1 << 20 {
        let over = push.try_wait().expect("wait for sync-cli");
        assert!(over.is_none(), "the push was over before it was looked at");
        std::thread::yield_now();
    }
    let began = Instant::now();
    let told = here.call(&["status"]).ok().json()["files"].clone();
    let took = began.elapsed();
    let over = push.try_wait().expect("wait for sync-cli");
    assert!(over.is_none(), "the push did not wait");
    push.kill().expect("end sync-cli");
    push.wait().expect("wait for sync-cli");
    assert_eq!(told["standing"], "local_ahead", "{told}");
    let local = ["added", "changed", "removed"].map(|kind| told["local"][kind].as_u64());
    assert_eq!(local, [Some(1), Some(0), Some(1)], "{told}");
    assert!(took < Duration::from_secs(4), "it waited for {took:?}");
    here.push().ok();
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn a_second_server_is_refused(place: &Place) {
    let own = place.own_server();
    let output = place
        .serve(&own.data)
        .stdin(Stdio::null())
        .output()
        .expect("run sync-cli");
    assert!(!output.status.success(), "two servers on one directory");
    let said = String::from_utf8_lossy(&output.stderr);
    let pid = own.server.pid().expect("the server runs").as_raw_nonzero();
    assert!(
        said.contains(&pid.to_string()),
        "does not say who holds it: {said}"
    );
    trees::sample(&own.workspace.services());
    own.workspace.push().ok();
}

pub(super) fn a_server_finishes_what_it_began(place: &Place) {
    let mut own = place.own_server();
    write_big(&own);
    let pid = own.server.pid().expect("the server runs");
    own.proxy
        .when_sent(BREAK_AT, move |_| server::signal(pid, Signal::TERM));
    own.workspace.push().ok();
    let status = done(own.server.wait());
    assert!(status.success(), "the server ended with {status}");
    own.server = place.start(&own.data);
    own.proxy.retarget(own.server.address());
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    there.pull().ok();
    assert_same(&own.workspace.services(), &there.services());
}

pub(super) fn health_is_told(place: &Place) {
    let data = place.directory().join("plain");
    let mut command = place.serve(&data);
    let plain: Vec<_> = command
        .get_args()
        .map(ToOwned::to_owned)
        .take_while(|argument| argument != "--tls-cert")
        .collect();
    // Without TLS, so that a probe of two lines can ask.
    let mut serve = std::process::Command::new(command.get_program());
    serve.args(plain);
    command = serve;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run sync-cli");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("read");
    let address = line
        .trim()
        .rsplit("http://")
        .next()
        .expect("an address")
        .to_owned();
    for path in ["/healthz", "/readyz"] {
        let mut stream = TcpStream::connect(&address).expect("connect");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    server::signal(rustix::process::Pid::from_child(&child), Signal::TERM);
    assert!(child.wait().expect("wait for the server").success());
}
