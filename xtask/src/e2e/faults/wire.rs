//! Connections that are truncated, reset, stalled, doubled and corrupted, with TLS around what is said and without.

use std::{fs, process::Stdio};

use super::{
    super::{
        cli::Answer,
        scenario::{OwnServer, Workspace},
        trees::{self, assert_same, assert_untouched, noise},
    },
    Place,
};
use crate::proxy::{Direction, How, Passed, Proxy};

/// So much that does not compress is in every push.
const SIZE: usize = 300_000;

/// What happens to a connection and is over at once.
const HOWS: [How; 4] = [How::Truncate, How::Reset, How::Duplicate, How::Corrupt];

/// A change that is worth sending.
fn change(workspace: &Workspace, seed: u64) {
    trees::write(&workspace.services(), "web/noise.bin", noise(seed, SIZE));
    trees::write(
        &workspace.services(),
        format!("notes/{seed}.md"),
        format!("note {seed}\n"),
    );
}

/// What stands when a command met a fault: it is done, or it says why not, with exit 4 or 5.
///
/// A handshake that is broken may look as if the port did not speak TLS at all, which is exit 1.
#[track_caller]
fn assert_named(answer: &Answer, case: &str) {
    if answer.code == 0 {
        return;
    }
    let code = answer.json()["errors"][0]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let expected = [4, 5].contains(&answer.code) && code.contains('/')
        || answer.code == 1 && code == "transport/tls-failed";
    assert!(
        expected,
        "{case}: exit {}\n{}{}",
        answer.code, answer.stdout, answer.stderr
    );
}

/// A verb, a direction, and at which shares of what passes then something happens.
type Case<'c> = (&'c str, Direction, &'c [f64]);

/// Pushes and pulls while every one of these things happens in every one of these cases.
fn in_every_case(place: &Place, own: &OwnServer, hows: &[How], cases: &[Case<'_>]) {
    let (here, proxy) = (&own.workspace, &own.proxy);
    let configuration = fs::read_to_string(here.root().join("sync.toml")).expect("read sync.toml");
    let url = configuration
        .split('"')
        .find(|text| text.starts_with("http"));
    let there = place.workspace_in(
        &place.directory().join("there"),
        url.expect("a URL"),
        &own.token,
    );
    change(here, 0);
    here.push().ok();
    there.pull().ok();
    // What passes is the same every time, but for some bytes of a time or a digest.
    change(here, 1);
    let before = proxy.passed();
    here.push().ok();
    let push = proxy.passed().since(before);
    let before = proxy.passed();
    there.pull().ok();
    let pull = proxy.passed().since(before);
    let mut seed = 1;
    for how in hows {
        for (verb, direction, shares) in cases {
            for share in *shares {
                seed += 1;
                change(here, seed);
                let case = format!("{verb}: {how:?} {direction:?} at {share} of what passes");
                let tree = trees::traces(&here.services());
                if *verb == "push" {
                    befall(proxy, *direction, *share, push, *how);
                    assert_named(&here.push(), &case);
                    proxy.mend();
                }
                here.push().ok();
                assert_untouched(&here.services(), &tree);
                if *verb == "pull" {
                    let tree = trees::traces(&there.services());
                    befall(proxy, *direction, *share, pull, *how);
                    let pulled = there.pull();
                    assert_named(&pulled, &case);
                    if pulled.code != 0 {
                        assert_untouched(&there.services(), &tree);
                    }
                    proxy.mend();
                }
                there.pull().ok();
                assert_same(&here.services(), &there.services());
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of some hundred thousand bytes"
)]
fn befall(proxy: &Proxy, direction: Direction, share: f64, passed: Passed, how: How) {
    let all = match direction {
        Direction::Up => passed.sent,
        Direction::Down => passed.received,
    };
    proxy.break_at(direction, (all as f64 * share) as u64, how);
}

/// A command that meets a stall; it is waited for later, since giving up takes its time.
fn stalled(
    workspace: &Workspace,
    proxy: &Proxy,
    verb: &str,
    direction: Direction,
) -> std::process::Child {
    proxy.break_at(direction, SIZE as u64 / 2, How::Stall);
    workspace
        .cli()
        .command(&[verb, "files"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run sync-cli")
}

pub(super) fn a_broken_wire_loses_nothing(place: &Place) {
    let own = place.own_server();
    // On branches and through proxies of their own, so that they stall beside the rest.
    let proxies = [(); 2].map(|()| Proxy::start(own.server.address()).expect("start a proxy"));
    let aside = |name: &str, proxy: &Proxy| {
        let workspace = place.workspace_at(name, proxy.address(), &own.token);
        let path = workspace.root().join("sync.toml");
        let text = fs::read_to_string(&path).expect("read sync.toml");
        fs::write(&path, text.replace("\"main\"", "\"aside\"")).expect("write sync.toml");
        workspace
    };
    let [sender, receiver] = [("sender", &proxies[0]), ("receiver", &proxies[1])]
        .map(|(name, proxy)| aside(name, proxy));
    change(&sender, 1000);
    sender.push().ok();
    let nothing = trees::traces(&receiver.services());
    let mut pull = stalled(&receiver, &proxies[1], "pull", Direction::Down);
    change(&sender, 1001);
    let mut push = stalled(&sender, &proxies[0], "push", Direction::Up);

    let few = &[0.1, 0.5, 0.98];
    let many = &[0.0, 0.001, 0.5, 0.99];
    let cases: [Case<'_>; 4] = [
        ("push", Direction::Up, many),
        ("push", Direction::Down, few),
        ("pull", Direction::Up, few),
        ("pull", Direction::Down, many),
    ];
    in_every_case(place, &own, &HOWS, &cases);

    for (child, what) in [(&mut pull, "pull"), (&mut push, "push")] {
        let code = child.wait().expect("wait for sync-cli").code();
        assert!(
            [Some(0), Some(4)].contains(&code),
            "a stalled {what} exited with {code:?}"
        );
        if what == "pull" && code != Some(0) {
            assert_untouched(&receiver.services(), &nothing);
        }
    }
    sender.push().ok();
    receiver.pull().ok();
    assert_same(&sender.services(), &receiver.services());
}

pub(super) fn damaged_bodies_are_refused(place: &Place) {
    let own = place.own_plain_server();
    // Below a hundredth are headers, which nothing but TLS protects, as is all of what goes the other way.
    let cases: [Case<'_>; 2] = [
        ("push", Direction::Up, &[0.02, 0.3, 0.6, 0.9, 0.99]),
        ("pull", Direction::Down, &[0.02, 0.3, 0.6, 0.9, 0.99]),
    ];
    in_every_case(place, &own, &HOWS, &cases);
}
