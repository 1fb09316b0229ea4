//! Containers of the engine that answers here, of images that are made here.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use sync_core::Fault;
use sync_deploy::{Deployer, Docker, DockerOptions, Health, ProcessRunner, engine};

use super::{PATIENCE, contract, deployed, serves, settled, wanted};

/// Answers `GET /health`, unless its environment says that it is broken.
const GOOD: &str =
    "[ -z \"$BROKEN\" ] || { echo no database; exit 3; }; exec httpd -f -p 8080 -h /www";

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {args:?}: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An engine, images, and a tenant of one test's own; its containers and images go with it.
struct Stage {
    tenant: String,
    images: Vec<String>,
    dir: tempfile::TempDir,
    publish: SocketAddr,
}

impl Stage {
    async fn new(test: &str) -> Self {
        if let Err(error) = engine::version(&ProcessRunner).await {
            panic!("{error}: {}", error.hint().unwrap());
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("env"), "").unwrap();
        Self {
            tenant: format!("test-{test}-{}", std::process::id()),
            images: Vec::new(),
            dir,
            publish: free.local_addr().unwrap(),
        }
    }

    /// An image that runs a script of busybox; its id is its digest.
    fn image(&mut self, name: &str, script: &str) -> String {
        let root = self.dir.path().join(name);
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("www")).unwrap();
        std::fs::write(root.join("www/health"), name).unwrap();
        let busybox = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new);
        let busybox = busybox.into_iter().find(|path| path.exists());
        let busybox = busybox.expect("there is no busybox: `apt-get install busybox-static`");
        std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
        std::os::unix::fs::symlink("busybox", root.join("bin/httpd")).unwrap();
        let tarball = self.dir.path().join("tarball");
        let tar = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&tarball)
            .arg(".")
            .status();
        assert!(tar.unwrap().success());
        let words = serde_json::to_string(&["/bin/sh", "-c", script]).unwrap();
        let change = format!("CMD {words}");
        let id = docker(&["import", "--change", &change, tarball.to_str().unwrap()]);
        self.images.push(id.clone());
        id
    }

    fn place(&self) -> Docker {
        let options = DockerOptions {
            port: 8080,
            publish: self.publish,
            health: "/health".to_owned(),
            env_file: Some(self.dir.path().join("env")),
            network: None,
            patience: PATIENCE,
            grace: std::time::Duration::from_secs(1),
            login: None,
        };
        Docker::new(ProcessRunner, options)
    }

    fn containers(&self) -> Vec<String> {
        let filter = format!("label=sync.tenant={}", self.tenant);
        let ids = docker(&["container", "ls", "--all", "--quiet", "--filter", &filter]);
        ids.lines().map(str::to_owned).collect()
    }

    /// What people get at the stable port.
    fn seen(&self) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.publish).unwrap();
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.rsplit("\r\n").next().unwrap().to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let quietly = |args: &[&str]| {
            let mut command = Command::new("docker");
            let _ = command
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        };
        for id in self.containers() {
            quietly(&["container", "rm", "--force", "--volumes", &id]);
        }
        for id in &self.images {
            quietly(&["image", "rm", "--force", id]);
        }
    }
}

#[tokio::test]
async fn containers_are_a_place() {
    let mut stage = Stage::new("contract").await;
    let first = stage.image("first", GOOD);
    let second = stage.image("second", GOOD);
    let broken = stage.image("broken", "echo no database; exit 3");
    let place = stage.place();
    let wanted = |name, image: &str| wanted(&stage.tenant, name, image);
    let (first, second) = (wanted("first", &first), wanted("second", &second));
    let broken = wanted("broken", &broken);
    contract(&place, [&first, &second, &broken]).await;
    // Nothing is left but what serves, where people look for it.
    assert_eq!(stage.seen(), "first");
    assert_eq!(stage.containers().len(), 1);
    place.start(&broken).await.unwrap();
    let Health::Unhealthy { reason } = settled(&place, &broken).await else {
        panic!("it is healthy");
    };
    assert!(
        reason.contains("status 3") && reason.contains("no database"),
        "{reason}"
    );
}

#[tokio::test]
async fn the_port_is_handed_back_where_the_new_release_fails_there() {
    let mut stage = Stage::new("handover").await;
    let first = stage.image("first", GOOD);
    let second = stage.image("second", GOOD);
    let place = stage.place();
    let first = wanted(&stage.tenant, "first", &first);
    let second = wanted(&stage.tenant, "second", &second);

    // Somebody else has the port: nothing serves, and nothing is left.
    let taken = TcpListener::bind(stage.publish).unwrap();
    place.start(&first).await.unwrap();
    assert_eq!(settled(&place, &first).await, Health::Healthy);
    let error = place.switch(&first).await.unwrap_err();
    assert_eq!(error.code(), "deploy/not-switched");
    place.abandon(&first).await.unwrap();
    assert_eq!(stage.containers().len(), 0);
    drop(taken);

    deployed(&place, &first).await;
    place.start(&second).await.unwrap();
    assert_eq!(settled(&place, &second).await, Health::Healthy);
    std::fs::write(stage.dir.path().join("env"), "BROKEN=1\n").unwrap();
    let error = place.switch(&second).await.unwrap_err();
    assert_eq!(error.code(), "deploy/not-switched");
    assert!(error.to_string().contains("no database"), "{error}");
    assert_eq!(settled(&place, &first).await, Health::Healthy);
    serves(&place, &first).await;
    assert_eq!(
        (stage.seen().as_str(), stage.containers().len()),
        ("first", 1)
    );

    // A server that died after it had stopped what served.
    docker(&["container", "stop", "--time=0", &stage.containers()[0]]);
    place.abandon(&second).await.unwrap();
    assert_eq!(settled(&place, &first).await, Health::Healthy);
    serves(&place, &first).await;
}

#[tokio::test]
async fn an_image_that_is_not_to_be_had_leaves_everything_as_it_was() {
    let stage = Stage::new("pull").await;
    let place = stage.place();
    let image = format!("127.0.0.1:1/none@sha256:{}", "ab".repeat(32));
    let none = wanted(&stage.tenant, "none", &image);
    place.start(&none).await.unwrap_err();
    assert_eq!(place.serving(&stage.tenant).await.unwrap(), None);
    let error = place.health(&none).await.unwrap_err();
    assert_eq!(error.code(), "deploy/not-started");
    assert_eq!(stage.containers().len(), 0);
}
