//! Ends in the middle.

use std::{fs, process::Stdio, sync::mpsc};

use rustix::process::{Pid, Signal};

use super::super::{
    scenario::{Place, Workspace},
    server::signal,
    trees::{self, noise},
};
use super::{assert_equal, export, signer, source};

/// The client is killed when it has sent so many bytes: from its first greeting to the end of the last pack.
const KILLED_AT: [u64; 5] = [1, 3_000, 400_000, 2_000_000, 3_500_000];

pub(super) fn an_import_that_is_killed_goes_on(place: &Place) {
    let here = source(place);
    let mut own = place.own_server();
    let file = export(place, "killed.tar.zst", &[]);
    let key = signer(place, &file);
    let admin = |place: &Place| {
        let words = [
            "token",
            "create",
            "--tenant",
            place.tenant(),
            "--scope",
            "admin",
        ];
        place.operator(&own.data, &words).ok().text("token")
    };
    let there = own.workspace.with_token(&admin(place));
    let words = ["import", &file, "--trust", &key];
    let heads = |there: &Workspace| {
        let listed = there.call(&["branch", "list"]).ok().json();
        listed["branches"].as_array().map_or(0, Vec::len)
    };
    for at in KILLED_AT {
        let (started, pid) = mpsc::channel::<Pid>();
        own.proxy.when_sent(at, move |proxy| {
            if let Ok(pid) = pid.recv() {
                signal(pid, Signal::KILL);
            }
            proxy.cut();
        });
        let mut command = there.cli().command(&words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("start sync-cli");
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        started.send(id.expect("a pid")).expect("tell the proxy");
        let ended = child.wait().expect("wait");
        assert!(
            !ended.success(),
            "it was done before it had sent {at} bytes"
        );
        assert_eq!(heads(&there), 0, "killed at {at}");
    }
    // Then the server, while objects come; what it had is there when it is started again.
    let server = own.server.pid().expect("a pid");
    own.proxy.when_sent(3_000_000, move |proxy| {
        signal(server, Signal::KILL);
        proxy.cut();
    });
    there.call(&words).exits(4);
    own.server.wait().expect("wait for the server");
    own.server = place.start(&own.data);
    own.proxy.retarget(own.server.address());
    assert_eq!(heads(&there), 0);
    let done = there.call(&words).ok().json();
    assert_eq!(done["result"], "imported");
    let known = done["records_deduplicated"].as_u64().unwrap_or_default();
    assert!(known > 5, "what came before was stored again: {done:#}");
    assert_equal(place, &own, &here);
}

pub(super) fn an_export_that_is_cut_leaves_no_file(place: &Place) {
    let own = place.own_server();
    let services = own.workspace.services();
    for number in 0..4 {
        trees::write(
            &services,
            format!("web/{number}.bin"),
            noise(number, 2_000_000),
        );
    }
    own.workspace.push().ok();
    let words = [
        "token",
        "create",
        "--tenant",
        place.tenant(),
        "--scope",
        "admin",
    ];
    let token = place.operator(&own.data, &words).ok().text("token");
    let admin = own.workspace.with_token(&token);
    let directory = place.directory().join("out");
    fs::create_dir(&directory).expect("make a directory");
    let file = directory.join("cut.tar.zst").display().to_string();
    fs::write(&file, "what was there before").expect("write");
    let cut = crate::proxy::Direction::Down;
    own.proxy.break_at(cut, 4_000_000, crate::proxy::How::Reset);
    admin.call(&["export", "--out", &file]).exits(4);
    assert!(!own.proxy.mend(), "nothing was cut");
    let left = fs::read_dir(&directory).expect("list a directory").count();
    assert_eq!(left, 1);
    assert_eq!(
        fs::read_to_string(&file).expect("read"),
        "what was there before"
    );
    admin.call(&["export", "--out", &file]).ok();
    place.cli().call(&["verify", &file]).ok();
}
