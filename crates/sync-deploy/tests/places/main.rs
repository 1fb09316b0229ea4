//! Every place where programs run does the same: containers of the real engine, an operator's program, and Fly as its API is
//! documented.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod containers;
mod fly;
mod script;

use std::time::{Duration, Instant};

use sync_core::Digest;
use sync_deploy::{Deployer, Health, Wanted};

const TENANT: &str = "acme";
/// So long a test waits for something to get healthy.
const PATIENCE: Duration = Duration::from_mins(1);

fn wanted(tenant: &str, name: &str, image: &str) -> Wanted {
    Wanted {
        tenant: tenant.to_owned(),
        release: Digest::of(name.as_bytes()),
        image: image.to_owned(),
    }
}

/// How a release is, once it is no longer starting.
async fn settled(place: &dyn Deployer, wanted: &Wanted) -> Health {
    let began = Instant::now();
    loop {
        match place.health(wanted).await.unwrap() {
            Health::Starting => assert!(began.elapsed() < PATIENCE, "it is still starting"),
            health => return health,
        }
        tokio::task::yield_now().await;
    }
}

/// Demands that this release serves, and is well.
#[track_caller]
fn serves(place: &dyn Deployer, wanted: &Wanted) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let serving = place.serving(&wanted.tenant).await.unwrap();
        let serving = serving.unwrap_or_else(|| panic!("nothing serves: {caller}"));
        assert_eq!(serving.release, Some(wanted.release), "{caller}");
        assert_eq!(serving.image, wanted.image, "{caller}");
        assert_eq!(serving.health, Health::Healthy, "{caller}");
    }
}

async fn deployed(place: &dyn Deployer, wanted: &Wanted) {
    place.start(wanted).await.unwrap();
    assert_eq!(settled(place, wanted).await, Health::Healthy);
    let serving = place.switch(wanted).await.unwrap();
    assert_eq!(serving.release, Some(wanted.release));
}

/// What every place does. `broken` gets unhealthy.
async fn contract(place: &dyn Deployer, [first, second, broken]: [&Wanted; 3]) {
    assert_eq!(place.serving(&first.tenant).await.unwrap(), None);
    // What was never started is nothing to abandon.
    place.abandon(first).await.unwrap();

    deployed(place, first).await;
    serves(place, first).await;
    // Everything is safe to do again, also where it serves.
    place.start(first).await.unwrap();
    assert_eq!(settled(place, first).await, Health::Healthy);
    place.switch(first).await.unwrap();
    place.abandon(first).await.unwrap();
    serves(place, first).await;

    place.start(broken).await.unwrap();
    let health = settled(place, broken).await;
    assert!(
        matches!(&health, Health::Unhealthy { reason } if !reason.is_empty()),
        "{health:?}"
    );
    serves(place, first).await;
    for _ in 0..2 {
        place.abandon(broken).await.unwrap();
        serves(place, first).await;
    }

    // Somebody thinks better of it.
    place.start(second).await.unwrap();
    place.start(second).await.unwrap();
    serves(place, first).await;
    place.abandon(second).await.unwrap();
    serves(place, first).await;

    deployed(place, second).await;
    serves(place, second).await;
    deployed(place, first).await;
    serves(place, first).await;
}
