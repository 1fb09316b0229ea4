//! kill -9 at each step, between database and disk and in the middle of each: one more run, and both sides are whole and equal.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        faults::tracer,
        scenario::{Place, done},
    },
    desk::{Desk, SOURCES, counts, page},
};
use crate::noise::Random;

/// So many points are tried of each command.
const TRIED: usize = 14;
/// How many pages there are.
const PAGES: usize = 30;

/// What is done, again and again.
#[derive(Debug, Clone, Copy)]
struct Case {
    verb: &'static str,
    kind: &'static str,
}

const CASES: [Case; 6] = [
    Case {
        verb: "push",
        kind: "content",
    },
    Case {
        verb: "pull",
        kind: "content",
    },
    Case {
        verb: "push",
        kind: "skills",
    },
    Case {
        verb: "pull",
        kind: "skills",
    },
    Case {
        verb: "push",
        kind: "access-control",
    },
    Case {
        verb: "pull",
        kind: "access-control",
    },
];

/// A skill in one file.
fn skill(instructions: &str) -> String {
    format!("---\nname: made\ndescription: one of many # said\n---\n\n{instructions}\n")
}

/// A workspace beside a database, and the generation that both are at.
struct Player<'p> {
    desk: Desk<'p>,
    generation: usize,
}

impl<'p> Player<'p> {
    fn new(desk: Desk<'p>) -> Self {
        desk.write("content/config.yaml", SOURCES);
        let player = Self {
            desk,
            generation: 0,
        };
        player.write_files();
        player
            .desk
            .call(&["push", "content", "skills", "access-control"])
            .ok();
        player
    }

    /// Every page and every rule says the generation; one page comes with each, and the one before goes.
    fn write_files(&self) {
        let generation = self.generation;
        for number in 0..PAGES {
            let body = format!("generation {generation}");
            self.desk.write(
                &format!("content/blog/{number}.md"),
                &page(&format!("p{number}"), &body),
            );
            self.desk
                .write(&format!("skills/s{number}/SKILL.md"), &skill(&body));
        }
        if generation > 0
            && self
                .desk
                .exists(&format!("content/blog/n{}.md", generation - 1))
        {
            self.desk
                .remove(&format!("content/blog/n{}.md", generation - 1));
        }
        self.desk.write(
            &format!("content/blog/n{generation}.md"),
            &page(
                &format!("n{generation}"),
                &format!("generation {generation}"),
            ),
        );
        let mut rules = "rules:\n".to_owned();
        for number in 0..PAGES {
            let _ = write!(
                rules,
                "  - entity_type: agent\n    entity_id: e{number}\n    roles: [admin]\n    justification: generation {generation}\n"
            );
        }
        self.desk.write("access-control/agents.yaml", &rules);
    }

    fn write_rows(&self) {
        let generation = self.generation;
        self.desk.ask(&format!(
            "BEGIN; UPDATE markdown_content SET body = 'generation {generation}', slug = CASE WHEN slug = 'n{before}' THEN 'n{generation}' ELSE slug END; \
            UPDATE agent_skills SET instructions = 'generation {generation}'; \
            UPDATE access_control_rules SET justification = 'generation {generation}'; COMMIT",
            before = generation - 1
        ));
    }

    /// Makes something to do.
    fn begin(&mut self, case: Case) {
        self.generation += 1;
        if case.verb == "push" {
            self.write_files();
        } else {
            self.write_rows();
        }
    }

    /// Whether the database has one generation alone: the target as a whole, or not at all.
    fn assert_whole(&self, case: Case, at: &str) {
        let query = match case.kind {
            "content" => "SELECT string_agg(DISTINCT body, ',') FROM markdown_content",
            "skills" => "SELECT string_agg(DISTINCT instructions, ',') FROM agent_skills",
            _ => "SELECT string_agg(DISTINCT justification, ',') FROM access_control_rules",
        };
        let found = self.desk.ask(query);
        assert!(
            !found.contains(','),
            "killed at {at}, half is there: {found}"
        );
        if case.verb == "pull" {
            assert_eq!(
                found,
                format!("generation {}", self.generation),
                "killed at {at}, the rows changed"
            );
        }
    }

    /// Demands that one more run is all it takes; the other way first, where that is asked for, loses nothing.
    fn finish(&self, case: Case, at: &str, other_way_first: bool) {
        self.assert_whole(case, at);
        if other_way_first {
            let other = if case.verb == "push" { "pull" } else { "push" };
            let mut words = vec![other, case.kind];
            if (other, case.kind) == ("push", "access-control") {
                // The files are the truth for rules: what a program did to them stays where a person says so.
                words.extend(["--on-conflict", "database"]);
            }
            self.desk.call(&words).ok();
            self.assert_whole(case, at);
        }
        let again = self.desk.call(&[case.verb, case.kind, "--delete"]);
        assert_eq!(again.code, 0, "after {at}: {again:?}");
        self.assert_whole(case, at);
        // What the other kind was given by `begin` comes along.
        self.desk
            .call(&[case.verb, "content", "skills", "access-control", "--delete"])
            .ok();
        let wanted = format!("generation {}", self.generation);
        for query in [
            "SELECT string_agg(DISTINCT body, ',') FROM markdown_content",
            "SELECT string_agg(DISTINCT instructions, ',') FROM agent_skills",
            "SELECT string_agg(DISTINCT justification, ',') FROM access_control_rules",
        ] {
            assert_eq!(self.desk.ask(query), wanted, "killed at {at}");
        }
        for number in 0..PAGES {
            let text = self.desk.read(&format!("content/blog/{number}.md"));
            assert_eq!(text, page(&format!("p{number}"), &wanted), "killed at {at}");
            let text = self.desk.read(&format!("skills/s{number}/SKILL.md"));
            assert_eq!(text, skill(&wanted), "killed at {at}");
        }
        let rules = self.desk.read("access-control/agents.yaml");
        assert_eq!(rules.matches(&wanted).count(), PAGES, "killed at {at}");
        let news =
            std::fs::read_dir(self.desk.tree().join("content/blog")).expect("read a directory");
        assert_eq!(news.count(), PAGES + 1, "killed at {at}");
    }
}

pub(super) fn a_run_killed_anywhere_goes_on(place: &Place) {
    let mut player = Player::new(Desk::new(place));
    for case in CASES {
        let words = [case.verb, case.kind, "--delete"];
        let command = player.desk.workspace.cli().command(&words);
        let log = place.directory().join("calls");
        player.begin(case);
        assert!(tracer::quiet(&mut tracer::counted(&command, &log)).success());
        player.finish(case, "the end", false);
        let points = tracer::points(&log, 0);
        let mut killed = 0;
        for (round, point) in tracer::spread(&points, TRIED).into_iter().enumerate() {
            player.begin(case);
            killed += usize::from(tracer::is_killed(&command, &point));
            let at = format!("{point} of {case:?}");
            player.finish(case, &at, round % 2 == 1);
        }
        println!(
            "     {case:?}: killed {killed} times, {} points",
            points.len()
        );
        assert!(killed >= TRIED / 3, "only {killed} points were come to");
    }
    player.desk.assert_settled("content");
    player.desk.assert_settled("skills");
    player.desk.assert_settled("access-control");
}

pub(super) fn a_postgres_killed_at_any_time_goes_on(place: &Place) {
    let postgres = place.own_postgres();
    let mut player = Player::new(Desk::on(place, &postgres));
    let mut random = Random::new(u64::from(std::process::id()));
    player.begin(CASES[0]);
    let began = Instant::now();
    let pushed = player
        .desk
        .call(&["push", "content", "--delete"])
        .ok()
        .json();
    assert_eq!(counts(&pushed)[1], PAGES as u64);
    let usual = u64::try_from(began.elapsed().as_millis())
        .unwrap_or(500)
        .max(20);
    player.finish(CASES[0], "the end", false);
    let mut failed = 0;
    for round in 0..8 {
        let case = CASES[round % CASES.len()];
        player.begin(case);
        player.desk.db.close();
        let after = Duration::from_millis(random.word() % usual);
        let workspace = player.desk.workspace.clone();
        let running = thread::spawn(move || workspace.call(&[case.verb, case.kind, "--delete"]));
        let began = Instant::now();
        while began.elapsed() < after {
            thread::yield_now();
        }
        done(postgres.kill());
        let answer = running.join().expect("a thread");
        assert!([0, 4].contains(&answer.code), "{answer:?}");
        failed += usize::from(answer.code != 0);
        done(postgres.revive());
        player.finish(case, &format!("{after:?} of {case:?}"), false);
    }
    println!("     {failed} of 8 runs were cut short");
    drop(player);
    done(postgres.down());
}
