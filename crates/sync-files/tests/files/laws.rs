//! Laws on random trees.

use proptest::collection::btree_map;
use proptest::prelude::*;
use sync_core::Entry;
use sync_files::{Error, StatCache};

use crate::support::{Model, Node, Workspace, World, apply, capture, noise, write};

fn nodes() -> impl Strategy<Value = Node> {
    prop_oneof![
        4 => "[ab]{0,3}".prop_map(|text| Node::File(text.into())),
        2 => "[ab]{0,3}".prop_map(|text| Node::Program(text.into())),
        1 => (250_000usize..400_000).prop_map(|len| Node::File(noise(len))),
        1 => "[ab](/[ab])?".prop_map(Node::Link),
        1 => Just(Node::Empty),
    ]
}

/// Trees over few names, so that two of them often meet at a path, with every change of kind.
fn models() -> impl Strategy<Value = Model> {
    btree_map("[a-c]([/.-][a-c]){0,2}", nodes(), 0..8).prop_map(|mut model| {
        let paths: Vec<String> = model.keys().cloned().collect();
        for path in &paths {
            if paths
                .iter()
                .any(|other| other.starts_with(&format!("{path}/")))
            {
                model.remove(path);
            }
        }
        model
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn an_applied_plan_leaves_nothing_to_do(before in models(), after in models()) {
        let workspace = Workspace::new(&before);
        let tree = workspace.tree();
        let mut cache = capture(&tree, &StatCache::new()).cache;
        let (old, new) = (World::of(&tree), World::of_model(&after));
        let applied = apply(&tree, old.plan_to(&new), &cache, &new.objects).unwrap();
        prop_assert_eq!(workspace.read(), after);
        prop_assert_eq!(&World::of(&tree).entries, &new.entries);
        applied.refresh(&mut cache).unwrap();
        prop_assert_eq!(capture(&tree, &cache).changes, vec![]);
    }

    #[test]
    fn changes_lead_from_the_cached_entries_to_the_present_ones(before in models(), after in models()) {
        let workspace = Workspace::new(&before);
        let tree = workspace.tree();
        let mut world = World::of(&tree);
        let cache = capture(&tree, &StatCache::new()).cache;
        cache.save(&workspace.private()).unwrap();
        for entry in std::fs::read_dir(workspace.root()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path)).unwrap();
        }
        write(&workspace.root(), &after);
        let found = capture(&tree, &StatCache::load(&workspace.private()));
        prop_assert!(found.changes.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (path, entry) in &found.changes {
            prop_assert_ne!(world.entries.get(path), entry.as_ref());
        }
        world.follow(&tree, &found);
        prop_assert_eq!(&world.entries, &World::of_model(&after).entries);
    }

    #[test]
    fn a_stale_plan_changes_nothing(before in models(), after in models(), which: prop::sample::Index) {
        let workspace = Workspace::new(&before);
        let tree = workspace.tree();
        let new = World::of_model(&after);
        let mut plan = World::of(&tree).plan_to(&new);
        prop_assume!(!plan.steps.is_empty());
        let at = which.index(plan.steps.len());
        let step = &mut plan.steps[at];
        let other = Entry::Link { target: "stale".into() };
        prop_assume!(step.wanted.as_ref() != Some(&other));
        step.expected = match &step.expected {
            Some(_) if step.wanted.is_some() => None,
            _ => Some(other),
        };
        let path = step.path.to_string();
        match apply(&tree, plan, &StatCache::new(), &new.objects).unwrap_err() {
            // Where a directory is to make way, what is in it is named.
            Error::Moved { paths } => prop_assert!(
                paths.iter().any(|named| *named == path || named.starts_with(&format!("{path}/"))),
                "{:?} instead of {}", paths, path
            ),
            error => prop_assert!(false, "{:?}", error),
        }
        prop_assert_eq!(workspace.read(), before);
        workspace.assert_tidy();
    }
}
