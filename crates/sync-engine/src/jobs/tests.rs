//! What jobs there are, and what they run. That they run is shown end to end.

use super::*;

fn jobs(text: &str) -> Result<Vec<Job>, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sync.toml"), text).unwrap();
    let config = crate::Config::load(dir.path()).map_err(|error| error.to_string())?;
    jobs_of(&config.jobs).map_err(|error| error.to_string())
}

#[test]
fn built_in_names_are_there_and_may_be_given_a_schedule() {
    let found = jobs(
        "[[jobs]]\nname = \"nightly\"\nschedule = \"0 3 * * *\"\nrun = \"pull skills content\"\n\
        [[jobs]]\nname = \"content_sync\"\nschedule = \"*/5 * * * *\"\nrun = \"content_sync\"\ndirection = \"disk\"\noverride_existing = true\n",
    )
    .unwrap();
    let names: Vec<&str> = found.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["nightly", "content_sync", "access_control_sync"]);
    assert_eq!(found[0].task.to_string(), "pull skills content");
    assert_eq!(found[0].direction(), Direction::ToDisk);
    assert_eq!(found[1].direction(), Direction::ToDisk);
    assert_eq!(found[2].direction(), Direction::ToDatabase);
    assert_eq!(found[2].task.to_string(), "access_control_sync");
    let run = found[1].run_of(LocalKind::Content);
    assert_eq!(run.options.on_conflict, Some(crate::local::Side::Database));
    assert!(!run.options.delete && !run.limits.yes);
}

#[test]
fn a_direction_is_written_in_many_ways() {
    for (text, expected) in [
        ("to_db", Direction::ToDatabase),
        ("to-db", Direction::ToDatabase),
        ("db", Direction::ToDatabase),
        ("to_database", Direction::ToDatabase),
        ("to_disk", Direction::ToDisk),
        ("to-disk", Direction::ToDisk),
        ("disk", Direction::ToDisk),
    ] {
        assert_eq!(text.parse(), Ok(Towards(expected)));
        let job = jobs("").unwrap().remove(0);
        let parameters = JobParameters {
            direction: text.parse().ok(),
            ..JobParameters::default()
        };
        assert_eq!(job.with(parameters).unwrap().direction(), expected);
    }
    assert!("up".parse::<Towards>().is_err());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let job = |more: &str| format!("[[jobs]]\nname = \"a\"\n{more}\n");
    let run = job("run = \"push content\"");
    assert!(
        jobs(&format!("{run}{run}"))
            .unwrap_err()
            .contains("named twice")
    );
    let directed = job("run = \"push content\"\ndirection = \"disk\"");
    assert!(jobs(&directed).unwrap_err().contains("has a direction"));
    assert!(jobs("[[jobs]]\nname = \"../a\"\nrun = \"push content\"").is_err());
}
