//! An operator's program.

use std::path::Path;

use sync_core::Fault;
use sync_deploy::{Deployer, Health, ProcessRunner, Script};

use super::{PATIENCE, TENANT, contract, wanted};

/// Keeps what it was told in files.
const PROGRAM: &str = r#"
dir=$1 action=$2 tenant=$3
case $action in
serving) [ ! -f "$dir/live" ] || cat "$dir/live" ;;
start) printf %s "$SYNC_DEPLOY_IMAGE" >"$dir/$SYNC_DEPLOY_RELEASE" ;;
health)
    case $(cat "$dir/$SYNC_DEPLOY_RELEASE") in
    broken) echo "it has no database"; exit 1 ;;
    slow) exit 75 ;;
    esac ;;
switch)
    printf '{"image":"%s","release":"%s"}' "$SYNC_DEPLOY_IMAGE" "$SYNC_DEPLOY_RELEASE" >"$dir/new"
    mv "$dir/new" "$dir/live"
    cat "$dir/live" ;;
abandon)
    grep -qs "$SYNC_DEPLOY_RELEASE" "$dir/live" || rm -f "$dir/$SYNC_DEPLOY_RELEASE" ;;
*) echo "what is $action of $tenant?"; exit 64 ;;
esac
"#;

fn place(dir: &Path, program: &str) -> Script {
    let path = dir.join("program");
    std::fs::write(&path, program).unwrap();
    let args = [path.into_os_string(), dir.into()];
    Script::new(ProcessRunner, "sh", args, PATIENCE)
}

#[tokio::test]
async fn a_program_is_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path(), PROGRAM);
    let image = |name| wanted(TENANT, name, name);
    contract(&place, [&image("one"), &image("two"), &image("broken")]).await;
    let slow = image("slow");
    place.start(&slow).await.unwrap();
    assert_eq!(place.health(&slow).await.unwrap(), Health::Starting);
}

#[tokio::test]
async fn what_a_program_says_that_is_not_as_documented_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let one = wanted(TENANT, "one", "one");
    let refusing = place(dir.path(), "echo 'not today' >&2; exit 3");
    let error = refusing.start(&one).await.unwrap_err();
    assert_eq!(error.code(), "deploy/ended");
    assert!(error.to_string().contains("not today"), "{error}");
    let chatty = place(dir.path(), "echo it runs");
    let error = chatty.serving(TENANT).await.unwrap_err();
    assert_eq!(error.code(), "deploy/place");
}
