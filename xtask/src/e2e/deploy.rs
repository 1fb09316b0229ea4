//! The suite `deploy`: from a checkout to a program that serves, by the real engine and a registry on loopback.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

mod registry;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    cli::{Answer, Cli},
    faults::disk::SmallDisk,
    scenario::{Place, Suite, done},
};
use crate::{cargo, debian};
use registry::Registry;

/// Every scenario.
pub(super) const SCENARIOS: Suite = &[
    (
        "a_checkout_becomes_what_serves",
        a_checkout_becomes_what_serves,
    ),
    (
        "what_is_refused_changes_nothing",
        what_is_refused_changes_nothing,
    ),
    ("a_full_disk_is_said", a_full_disk_is_said),
    (
        "a_client_that_is_killed_starts_again",
        a_client_that_is_killed_starts_again,
    ),
];

/// Nobody waits longer for what a killed client leaves.
const PATIENCE: Duration = Duration::from_mins(1);

/// An operator's program that has everything healthy at once, and writes down what serves.
const PROGRAM: &str = r#"
case $2 in
serving) [ ! -f "$1/live" ] || cat "$1/live" ;;
switch)
    printf '{"image":"%s","release":"%s"}' "$SYNC_DEPLOY_IMAGE" "$SYNC_DEPLOY_RELEASE" >"$1/new"
    mv "$1/new" "$1/live"
    cat "$1/live" ;;
esac
"#;

/// A workspace with a program, a tenant that runs it, and a registry.
struct Stage {
    registry: Registry,
    /// Where the operator's program keeps what serves.
    place: PathBuf,
    root: PathBuf,
    cli: Cli,
}

impl Stage {
    #[track_caller]
    fn new(place: &Place, root: &Path) -> Self {
        let answers = Command::new("docker")
            .args(["version", "--format", "{{.Server.Version}}"])
            .output();
        let answers = answers.is_ok_and(|output| output.status.success());
        assert!(
            answers,
            "no container engine answers: start one with `systemctl start docker`, or `dockerd`"
        );
        place.create_tenant();
        let token = place.token(place.tenant(), "deploy");
        let workspace = place.workspace_in(
            root,
            &format!("https://localhost:{}", place.server().port()),
            &token,
        );
        let runs = place.directory().join("place");
        fs::create_dir_all(&runs).expect("create a directory");
        let program = runs.join("program");
        fs::write(&program, PROGRAM).expect("write the operator's program");
        let words = [
            "tenant",
            "deploy",
            place.tenant(),
            "--command",
            "sh",
            "--arg",
        ];
        let (program, dir) = (program.display().to_string(), runs.display().to_string());
        let words = [&words[..], &[&program, "--arg", &dir]].concat();
        place.operator(place.data(), &words).ok();
        let stage = Self {
            registry: Registry::start(&place.directory().join("registry")),
            place: runs,
            root: root.to_owned(),
            cli: workspace.cli().clone(),
        };
        stage.write_source();
        stage.commit();
        stage
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("create a directory");
        fs::write(&path, text).expect("write a file");
    }

    fn write_source(&self) {
        let toml = self.root.join("sync.toml");
        let toml = fs::read_to_string(toml).expect("read sync.toml");
        let port = self.registry.port();
        self.write(
            "sync.toml",
            &format!("{toml}\n[deploy]\npackage = \"agents\"\nregistry = \"127.0.0.1:{port}\"\nrepository = \"team/agents\"\nusername = \"ada\"\npassword_env = \"REGISTRY_PASSWORD\"\n"),
        );
        self.write("Cargo.toml", "[package]\nname = \"agents\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n");
        self.write(
            "Cargo.lock",
            "version = 4\n\n[[package]]\nname = \"agents\"\nversion = \"0.1.0\"\n",
        );
        self.write("src/main.rs", "fn main() {}\n");
        self.write("www/health", "one\n");
        self.write(
            "Dockerfile",
            "FROM scratch\nCOPY www /www\nCOPY target/release/agents /agents\nCMD [\"/agents\"]\n",
        );
        self.write(".dockerignore", "*\n!www\n!target/release/agents\n");
        self.write(".gitignore", "/target\n/.sync\n");
    }

    #[track_caller]
    fn commit(&self) {
        let git = |words: &[&str]| {
            let who = [
                "-c",
                "user.name=ada",
                "-c",
                "user.email=ada@example.com",
                "-c",
                "init.defaultBranch=main",
            ];
            done(cargo::output(
                Command::new("git")
                    .current_dir(&self.root)
                    .args(who)
                    .args(words),
            ));
        };
        if !self.root.join(".git").exists() {
            git(&["init", "--quiet"]);
        }
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message=a change"]);
    }

    fn command(&self, words: &[&str], password: &str) -> Command {
        let mut command = self.cli.command(words);
        command
            .env("REGISTRY_PASSWORD", password)
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("DOCKER_CONFIG");
        command
    }

    #[track_caller]
    fn call(&self, words: &[&str]) -> Answer {
        self.call_with(words, registry::PASSWORD)
    }

    #[track_caller]
    fn call_with(&self, words: &[&str], password: &str) -> Answer {
        let output = self
            .command(words, password)
            .output()
            .expect("start sync-cli");
        let answer = Answer {
            call: words.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let said = [answer.stdout.as_str(), answer.stderr.as_str()].concat();
        assert!(
            !said.contains(registry::PASSWORD),
            "a password was printed: {said}"
        );
        let private = self.root.join(".sync/deploy/docker");
        assert!(
            !private.exists(),
            "credentials were left in {}",
            private.display()
        );
        answer
    }

    /// What serves, as the operator's program wrote it down; nothing where nothing does.
    fn live(&self) -> String {
        fs::read_to_string(self.place.join("live")).unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Names of images only; their layers are shared by nothing that lives on.
        let filter = format!("reference=127.0.0.1:{}/*/*", self.registry.port());
        let found = Command::new("docker")
            .args(["image", "ls", "--quiet", "--filter", &filter])
            .output();
        let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for id in found.unwrap_or_default().lines() {
            let mut remove = Command::new("docker");
            remove.args(["image", "rm", "--force", id]);
            drop(remove.stdout(Stdio::null()).stderr(Stdio::null()).status());
        }
    }
}

fn a_checkout_becomes_what_serves(place: &Place) {
    let stage = Stage::new(place, &place.directory().join("work"));
    stage
        .call(&["deploy", "--dry-run"])
        .ok()
        .says("docker push")
        .says("--password-stdin");
    assert_eq!(
        (stage.live().as_str(), stage.registry.tags().as_str()),
        ("", "")
    );
    stage
        .call(&["doctor", "deploy"])
        .exits(1)
        .says("is not there");

    let first = stage.call(&["deploy"]).ok();
    let image = first.text("image");
    assert!(image.contains("/team/agents@sha256:"), "{image}");
    assert!(stage.live().contains(&image), "{}", stage.live());
    assert!(stage.registry.tags().contains(&first.text("tag")));
    assert_eq!(first.json()["layers"]["reused"], 0);
    stage.call(&["doctor", "deploy"]).ok();

    // What changed alone travels: the layer of the program is there already.
    stage.write("www/health", "two\n");
    stage.commit();
    let second = stage.call(&["deploy"]).ok();
    assert_eq!(
        second.json()["layers"],
        serde_json::json!({"reused": 1, "all": 2})
    );
    assert_ne!(second.text("contents"), first.text("contents"));
    assert!(stage.live().contains(&second.text("image")));

    // What the registry has is deployed again without anything of here.
    let tag = first.text("tag");
    let again = stage.call(&["deploy", "--skip-push", "--tag", &tag]).ok();
    assert_eq!(again.text("image"), image);
    assert_eq!(again.text("contents"), first.text("contents"));
    assert!(stage.live().contains(&image));

    // A source that changed is built, and not shipped where nobody may build it.
    stage.write(
        "src/main.rs",
        "fn main() {\n    std::process::exit(0);\n}\n",
    );
    stage.commit();
    stage
        .call(&["deploy", "--skip-build"])
        .exits(1)
        .says("is older than");
    assert!(stage.live().contains(&image));
    stage.write("www/health", "three\n");
    stage
        .call(&["deploy"])
        .exits(2)
        .says("1 file differs from the commit");
    let dirty = stage.call(&["deploy", "--allow-dirty"]).ok();
    assert!(dirty.text("tag").ends_with("-dirty"));
}

fn what_is_refused_changes_nothing(place: &Place) {
    let stage = Stage::new(place, &place.directory().join("work"));
    stage.call(&["deploy"]).ok();
    let live = stage.live();
    stage
        .call_with(&["deploy"], "wrong")
        .exits(6)
        .says("refuses these credentials");
    stage
        .call_with(&["doctor", "deploy"], "wrong")
        .exits(1)
        .says("refuses these credentials");
    stage
        .call_with(&["deploy"], "")
        .exits(2)
        .says("REGISTRY_PASSWORD");
    stage
        .call(&["deploy", "--skip-push", "--tag", "none"])
        .exits(1)
        .says("has no");
    stage
        .call(&["deploy", "--skip-push"])
        .exits(2)
        .says("--tag");
    stage.call(&["deploy", "--tag", "-x"]).exits(2);
    fs::rename(
        stage.root.join("Dockerfile"),
        stage.root.join("www/Dockerfile"),
    )
    .expect("move the Dockerfile");
    stage.commit();
    stage.call(&["deploy"]).exits(2).says("Dockerfile");
    stage.write("Dockerfile", "FROM scratch\nCOPY nothing /nothing\n");
    stage.commit();
    stage.call(&["deploy"]).exits(1).says("nothing");
    stage.write("src/main.rs", "fn main() { nothing }\n");
    stage.commit();
    stage.call(&["deploy"]).exits(1).says("cargo build");
    fs::rename(stage.root.join(".git"), stage.root.join(".sync/git"))
        .expect("move the checkout away");
    stage.call(&["deploy"]).exits(2).says("no checkout");
    assert_eq!(stage.live(), live);
}

fn a_full_disk_is_said(place: &Place) {
    let disk = SmallDisk::mount(&place.directory().join("disk"));
    let stage = Stage::new(place, &disk.path().join("work"));
    stage.write("target/filler", "");
    let filler = fs::File::create(stage.root.join("target/filler")).expect("create a file");
    // As much as there is, but for a little.
    let mut blocks = std::io::BufWriter::with_capacity(64 << 10, filler);
    while std::io::Write::write_all(&mut blocks, &[7; 4 << 10]).is_ok() {}
    drop(blocks);
    stage.call(&["deploy"]).exits(1).says("No space left");
    assert_eq!(stage.live(), "");
    fs::remove_file(stage.root.join("target/filler")).expect("remove a file");
    disk.grow();
    stage.call(&["deploy"]).ok();
}

fn a_client_that_is_killed_starts_again(place: &Place) {
    let stage = Stage::new(place, &place.directory().join("work"));
    let private = stage.root.join(".sync/deploy/docker");
    let mut client = stage
        .command(&["deploy"], registry::PASSWORD)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start sync-cli");
    let began = Instant::now();
    while !private.exists() {
        assert!(began.elapsed() < PATIENCE, "the deploy does not begin");
        std::thread::yield_now();
    }
    // A second one is told; the first one may end well before it is asked.
    let second = stage
        .command(&["deploy"], registry::PASSWORD)
        .output()
        .expect("start sync-cli");
    client.kill().expect("kill sync-cli");
    client.wait().expect("wait for sync-cli");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        second.status.success() || said.contains("another deploy"),
        "{said}"
    );
    // What the killed one had started has its own end; nothing that it left is in the way.
    let deployed = stage.call(&["deploy"]).ok();
    assert!(stage.live().contains(&deployed.text("image")));
}
