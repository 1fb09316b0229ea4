//! Disks that are full, at either end.

use std::path::{Path, PathBuf};

use super::{
    super::{
        scenario::done,
        server::Server,
        trees::{self, assert_same, assert_untouched, noise},
    },
    Place,
};
use crate::{debian, proxy::Proxy};

/// More than fits.
const MUCH: usize = 24 << 20;

/// A file system in memory; gone with the scenario.
pub(in crate::e2e) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(in crate::e2e) fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("create a directory");
        let path = at.display().to_string();
        let owner = format!(
            "size=12m,uid={},gid={}",
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw()
        );
        done(debian::run_privileged(
            "mount",
            &["-t", "tmpfs", "-o", &owner, "tmpfs", &path],
        ));
        Self(at.to_owned())
    }

    pub(in crate::e2e) fn path(&self) -> &Path {
        &self.0
    }

    pub(in crate::e2e) fn grow(&self) {
        let path = self.0.display().to_string();
        done(debian::run_privileged(
            "mount",
            &["-o", "remount,size=128m", &path],
        ));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = self.0.display().to_string();
        // Lazily: whatever is still open there goes with its process.
        drop(debian::run_privileged("umount", &["--lazy", &path]));
    }
}

pub(super) fn a_full_disk_here_leaves_the_tree_as_it_is(place: &Place) {
    let token = place.create_tenant();
    let here = place.workspace("here", &token);
    trees::sample(&here.services());
    here.push().ok();
    let disk = SmallDisk::mount(&place.directory().join("disk"));
    let url = format!("https://localhost:{}", place.server().port());
    let there = place.workspace_in(&disk.0.join("there"), &url, &token);
    there.pull().ok();
    trees::write(&here.services(), "web/large.bin", noise(1, MUCH));
    trees::write(&here.services(), "agents/triage.yaml", "new\n");
    here.push().ok();
    let before = trees::traces(&there.services());
    for _ in 0..2 {
        there.pull().exits(1).says("No space left");
        assert_untouched(&there.services(), &before);
    }
    disk.grow();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn a_full_disk_there_leaves_the_branch_as_it_is(place: &Place) {
    let disk = SmallDisk::mount(&place.directory().join("disk"));
    let data = disk.0.join("data");
    let server: Server = place.start(&data);
    let proxy = done(Proxy::start(server.address()));
    place
        .operator(&data, &["tenant", "create", place.tenant()])
        .ok();
    let created = place.operator(
        &data,
        &[
            "token",
            "create",
            "--tenant",
            place.tenant(),
            "--scope",
            "write",
        ],
    );
    let token = created.ok().text("token");
    let here = place.workspace_at("here", proxy.address(), &token);
    let there = place.workspace_at("there", proxy.address(), &token);
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    let before = trees::nodes(&there.services());
    trees::write(&here.services(), "web/large.bin", noise(2, MUCH));
    trees::write(&here.services(), "agents/triage.yaml", "new\n");
    for _ in 0..2 {
        let refused = here.push().exits(1);
        let code = refused.json()["errors"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(code.contains('/'), "no named reason: {}", refused.stdout);
        there.pull().ok();
        assert_eq!(
            trees::nodes(&there.services()),
            before,
            "the branch has moved"
        );
    }
    disk.grow();
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    // And after a restart.
    done(server.stop());
    let server = place.start(&data);
    proxy.retarget(server.address());
    let third = place.workspace_at("third", proxy.address(), &token);
    third.pull().ok();
    assert_same(&here.services(), &third.services());
    done(server.stop());
}
