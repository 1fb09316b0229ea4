//! Random edits, deletions and syncs on three databases and a tenant with one: all end alike, and no edit is lost unseen.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
};

use serde_json::Value;

use super::{
    super::scenario::Place,
    stage::{Db, ITEMS, Side, Stage},
};
use crate::noise::Random;

/// So many steps are taken.
const STEPS: usize = 240;
/// So many rows there are at the most.
const ROWS: usize = 30;
/// Names the seed of a schedule that is to be run again.
const SEED: &str = "SYNC_TEST_SEED";

/// What was written, and what became of it. Every value is written once, so it names its edit.
#[derive(Debug, Default)]
struct Ledger {
    written: BTreeMap<String, String>,
    /// What somebody who saw it wrote over, or deleted.
    superseded: BTreeSet<String>,
    /// What a conflict named.
    listed: BTreeSet<String>,
    deleted: BTreeSet<String>,
    next: usize,
}

impl Ledger {
    fn value(&mut self, who: &str) -> String {
        self.next += 1;
        format!("{who}-{}", self.next)
    }

    /// A random edit of a database by somebody.
    fn edit(&mut self, db: &Db<'_>, who: &str, random: &mut Random) -> String {
        let ids = db.ask("SELECT id FROM items ORDER BY id");
        let ids: Vec<&str> = ids.lines().collect();
        if ids.is_empty() || ids.len() < ROWS && random.below(3) == 0 {
            let (id, value) = (self.value("k"), self.value(who));
            db.ask(&format!(
                "INSERT INTO items (id, a) VALUES ('{id}', '{value}')"
            ));
            self.written.insert(value.clone(), id.clone());
            return format!("{who} inserts {id} with {value}");
        }
        let id = ids[random.below(ids.len())];
        let held = db.ask(&format!(
            "SELECT concat_ws(' ', a, b) FROM items WHERE id = '{id}'"
        ));
        if random.below(6) == 0 {
            db.ask(&format!("DELETE FROM items WHERE id = '{id}'"));
            self.superseded.extend(held.split(' ').map(str::to_owned));
            self.deleted.insert(id.to_owned());
            return format!("{who} deletes {id}");
        }
        let column = ["a", "b"][random.below(2)];
        let value = self.value(who);
        let held = db.ask(&format!("SELECT {column} FROM items WHERE id = '{id}'"));
        db.ask(&format!(
            "UPDATE items SET {column} = '{value}' WHERE id = '{id}'"
        ));
        self.superseded.insert(held);
        self.written.insert(value.clone(), id.to_owned());
        format!("{who} sets {column} of {id} to {value}")
    }

    /// Notes what conflicts name: keys, and the values of both sides.
    fn list(&mut self, report: &Value) {
        match report {
            Value::String(text) => {
                self.listed.insert(text.clone());
            }
            Value::Array(values) => values.iter().for_each(|value| self.list(value)),
            Value::Object(values) => values.values().for_each(|value| self.list(value)),
            _ => {}
        }
    }

    /// Syncs a side; where a person has to choose, chooses.
    fn sync(&mut self, side: &Side<'_>, random: &mut Random) -> String {
        for _ in 0..5 {
            let answer = side.sync();
            if answer.code == 0 {
                return "syncs".to_owned();
            }
            let answer = answer.exits(3);
            self.list(&answer.json()["conflicts"]);
            let choice = ["ours", "theirs"][random.below(2)];
            side.call(&["conflicts", "resolve", "all", choice]).ok();
        }
        panic!("five syncs come to no end");
    }

    /// Demands that every edit is in the result, was seen and replaced, or was listed.
    fn check(&self, rows: &str) {
        for (value, id) in &self.written {
            let is_there = rows.contains(&format!("|{value}|"));
            let is_known = self.superseded.contains(value) || self.listed.contains(value);
            assert!(is_there || is_known, "{value} of {id} is lost");
        }
        for id in &self.deleted {
            let is_back = rows.lines().any(|row| row.starts_with(&format!("{id}|")));
            assert!(
                !is_back || self.listed.contains(id),
                "{id} was deleted and is back"
            );
        }
    }
}

pub(super) fn random_schedules_lose_nothing(place: &Place) {
    let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("     {SEED}={seed}");
    let mut random = Random::new(seed);
    let stage = Stage::new(place, ITEMS);
    let sides = ["one", "two", "three"].map(|name| stage.side(name));
    sides[0].track();
    sides[1].track();
    let mut ledger = Ledger::default();
    let mut story = Vec::new();
    for _ in 0..STEPS {
        let who = random.below(sides.len());
        let side = &sides[who];
        let name = ["one", "two", "three"][who];
        story.push(match random.below(10) {
            0..=4 => ledger.edit(&side.db, name, &mut random),
            5 => ledger.edit(&stage.tenant, "tenant", &mut random),
            6 => format!("{name} pushes: {}", side.push().code),
            7 => {
                let pulled = side.pull();
                if pulled.code == 3 {
                    ledger.list(&pulled.json()["conflicts"]);
                }
                format!("{name} pulls: {}", pulled.code)
            }
            _ => format!("{name} {}", ledger.sync(side, &mut random)),
        });
    }
    for side in sides.iter().chain(&sides) {
        ledger.sync(side, &mut random);
    }
    let ends = sides.each_ref().map(Side::rows);
    let told = || format!("seed {seed}\n{}", story.join("\n"));
    assert!(
        ends.iter().all(|end| *end == stage.rows()),
        "sides differ: {}",
        told()
    );
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ledger.check(&ends[0])));
    if let Err(reason) = result {
        println!("{}", told());
        std::panic::resume_unwind(reason);
    }
    stage.assert_equal(&sides[0]);
    println!(
        "     {} edits, {} named by conflicts",
        ledger.written.len(),
        ledger.listed.len()
    );
}
