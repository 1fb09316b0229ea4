//! The crate as its users see it: on real directories, with faults at every step.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say so and stop"
)]

mod apply;
mod capture;
mod crash;
mod example;
mod laws;
mod support;
