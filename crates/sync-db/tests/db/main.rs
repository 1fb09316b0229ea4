//! The crate against a real database: every test has one of its own.

mod apply;
mod capture;
mod support;
mod track;
mod types;
