//! The example of the crate, run.

#[path = "../../examples/standalone.rs"]
mod standalone;

#[test]
fn the_example_runs() {
    let dir = tempfile::tempdir().unwrap();
    let printed = standalone::run(dir.path()).unwrap();
    assert_eq!(
        printed,
        "first: 3 files\n+ agents/triage.yaml\n+ skills/summarise/SKILL.md\n+ skills/summarise/run.sh\n\
         then:\n~ agents/triage.yaml\n- skills/summarise/run.sh\n+ web/index.html\n\
         applied: 3 written, 0 removed\n\
         again: nothing to do\n"
    );
}
