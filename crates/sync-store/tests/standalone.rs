//! The example runs.

#[path = "../examples/standalone.rs"]
#[allow(
    dead_code,
    reason = "the test calls `run`, the example is started by `main`"
)]
mod standalone;

#[tokio::test]
async fn the_example_runs() {
    standalone::run().await.unwrap();
}
