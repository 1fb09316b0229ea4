//! Tests of the whole store, over its adapters.

mod adapters;
mod cut;
mod export;
mod faults;
mod fixture;
mod history;
mod hostile;
mod patches;
mod push;
mod releases;
mod rows;
mod rows_hostile;
mod upkeep;
mod upkeep_faults;
