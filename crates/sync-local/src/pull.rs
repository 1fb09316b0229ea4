//! Rows to files: rendered one by one into a private file, then moved in as one journalled apply, then written down.
//!
//! A crash before the apply leaves everything as it was, one in the middle is finished or undone by whoever recovers, and
//! one after it leaves two sides that are equal, which the next run writes down.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sync_core::{Entry, TreePath};
use sync_db::{Database, Isolation};
use sync_files::{Plan, Step, Tree, Whole, placed};

use crate::Error;
use crate::decide::Verdict;
use crate::disk::{Place, Reader};
use crate::kind::{Frame, Kind, Reading, Texts, Unit};
use crate::local::{LocalOutcome, NOTE};
use crate::plan::LocalPlan;
use crate::push::{BATCH, Written, agreed, forget, write_down};
use crate::record::{Key, Record};
use crate::rows::{frames, keys, records};
use crate::spool::{Spool, Spot};

const READING: &str = "reading what goes to the disk";
const WRITING: &str = "writing down what the disk has";

/// What is to become of one home.
#[derive(Debug)]
struct Job {
    home: TreePath,
    /// `None` for an item that goes.
    wanted: Vec<(Key, Option<Record>)>,
    /// What is kept of its files, where they are not there.
    frames: Vec<Frame>,
}

/// What is ready to be moved in.
#[derive(Debug)]
struct Ready {
    spool: Spool,
    steps: Vec<Step>,
    spots: Vec<(TreePath, Spot)>,
    written: Written,
}

/// Does what the plan says; the caller holds the workspace.
pub(crate) async fn apply<K: Kind>(
    database: &Database,
    place: &Place,
    kind: K,
    copy: &str,
    mut plan: LocalPlan,
) -> Result<LocalOutcome, Error> {
    database.ensure_bookkeeping().await?;
    let mut homes: BTreeMap<TreePath, Vec<(Key, bool)>> = BTreeMap::new();
    for item in plan.changes() {
        let home = item.path.clone().ok_or(Error::Task)?;
        let stays = item.verdict != Verdict::Delete;
        homes
            .entry(home)
            .or_default()
            .push((item.key.clone(), stays));
    }
    let kind = Arc::new(kind);
    let shared = Arc::new(plan);
    let mut ready = Ready {
        spool: Spool::new(&place.cache_dir(K::NAME))?,
        steps: Vec::new(),
        spots: Vec::new(),
        written: Written::default(),
    };
    let transaction = database.begin(READING, Isolation::Snapshot).await?;
    let mut homes = homes.into_iter().peekable();
    while homes.peek().is_some() {
        let mut part = Vec::new();
        let mut count = 0;
        while let Some((home, items)) = homes.next_if(|_| count < BATCH) {
            count += items.len();
            part.push((home, items));
        }
        let asked = part.iter().flat_map(|(_, items)| items);
        let asked = asked.filter(|(_, stays)| *stays).map(|(key, _)| key);
        let mut found = records(&transaction, &*kind, &keys::<K>(asked)).await?;
        let absent: Vec<&TreePath> = part.iter().map(|(home, _)| home).collect();
        let mut kept = frames::<K>(&transaction, &absent).await?;
        let mut jobs = Vec::new();
        for (home, items) in part {
            let mut wanted = Vec::new();
            for (key, stays) in items {
                let record = if stays {
                    Some(take::<K>(&mut found, &shared, &key)?)
                } else {
                    None
                };
                wanted.push((key, record));
            }
            jobs.push(Job {
                frames: kept.remove(&home).unwrap_or_default(),
                home,
                wanted,
            });
        }
        let (kind, place, plan) = (Arc::clone(&kind), place.clone(), Arc::clone(&shared));
        let render = move || {
            let tree = place.open()?;
            let mut reader = Reader::new(&tree)?;
            for job in jobs {
                render(&*kind, &mut reader, &plan, job, &mut ready)?;
            }
            Ok::<_, Error>(ready)
        };
        ready = blocking(render).await?;
    }
    transaction.commit(READING).await?;
    plan = Arc::into_inner(shared).ok_or(Error::Task)?;
    let place = place.clone();
    let (plan, written) = blocking(move || {
        let tree = place.open()?;
        let mut written = ready.written;
        add_unchanged(&*kind, &tree, &plan, &mut written)?;
        if !ready.steps.is_empty() {
            move_in(&tree, &mut plan, ready.steps, &ready.spool, &ready.spots)?;
        }
        plan.cache.save(&made(place.cache_dir(K::NAME))?)?;
        Ok((plan, written))
    })
    .await?;
    let transaction = database.begin(WRITING, Isolation::Latest).await?;
    transaction.lock_local(WRITING).await?;
    write_down::<K>(&transaction, copy, &written, None).await?;
    forget::<K>(&transaction, copy, &plan).await?;
    transaction.commit(WRITING).await?;
    Ok(LocalOutcome::of(&plan))
}

/// A private directory that is there.
pub(crate) fn made(dir: std::path::PathBuf) -> Result<std::path::PathBuf, Error> {
    match std::fs::create_dir_all(&dir) {
        Ok(()) => Ok(dir),
        Err(source) => Err(Error::Spool {
            path: dir.display().to_string(),
            source,
        }),
    }
}

/// Runs what blocks on a thread where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Task)?
}

/// The row of an item, if it still is the one that the plan has seen.
fn take<K: Kind>(
    found: &mut HashMap<Key, (Record, String)>,
    plan: &LocalPlan,
    key: &Key,
) -> Result<Record, Error> {
    let at = plan.items.binary_search_by(|item| item.key.cmp(key));
    let seen = at.ok().and_then(|at| plan.items[at].mark.as_ref());
    match found.remove(key) {
        Some((record, mark)) if Some(&mark) == seen => Ok(record),
        _ => Err(Error::Moved {
            what: format!("the row of {} `{key}`", K::NAME),
        }),
    }
}

/// Renders the files of one home, and makes sure that they say what is wanted.
fn render<K: Kind>(
    kind: &K,
    reader: &mut Reader,
    plan: &LocalPlan,
    job: Job,
    ready: &mut Ready,
) -> Result<(), Error> {
    let Job {
        home,
        wanted,
        frames,
    } = job;
    let there = plan.units.get(&home);
    let mut texts = Texts::new();
    if let Some(unit) = there {
        // Whatever is looked at in reading them is what can change in writing them.
        kind.read(unit, &mut |path| {
            let text = reader.text(unit, path)?;
            texts.extend(text.clone().map(|text| (path.clone(), text)));
            Ok(text)
        })?;
    } else {
        let body = wanted.first().and_then(|(_, record)| record.as_ref());
        let body = body.map_or("", |record| record.body(K::FIELDS));
        texts.extend(frames.into_iter().map(|frame| {
            let text = match frame.tail {
                Some(tail) => format!("{}{body}{tail}", frame.head),
                None => frame.head,
            };
            (frame.path, text)
        }));
    }
    let mut wanted = wanted;
    if K::SHARES_FILES && there.is_none() && !texts.is_empty() {
        // The file that is kept may speak of items that are gone since.
        let unit = kind.unit(home.clone(), Vec::new());
        let kept = kind.read(&unit, &mut |path| Ok(texts.get(path).cloned()))?;
        let gone = kept.items.into_iter().map(|(key, _)| key);
        let gone = gone.filter(|key| !wanted.iter().any(|(other, _)| other == key));
        let gone: Vec<_> = gone.map(|key| (key, None)).collect();
        wanted.extend(gone);
    }
    let before = texts.clone();
    let new = kind.write(&home, texts, &wanted)?;
    let mut files: Vec<(TreePath, Entry)> = there.map_or_else(Vec::new, |unit| unit.files.clone());
    for (path, text) in &new {
        // What belongs to no item that is there is somebody's.
        if there.is_none() && plan.entries.contains_key(path) {
            return Err(Error::InTheWay {
                kind: K::NAME,
                key: wanted
                    .first()
                    .map_or_else(String::new, |(key, _)| key.to_string()),
                path: path.to_string(),
            });
        }
        if text.as_ref() == before.get(path) && there.is_some() {
            continue;
        }
        let expected = plan.entries.get(path).cloned();
        let is_executable = matches!(
            expected,
            Some(Entry::File {
                executable: true,
                ..
            })
        );
        let whole = text
            .as_ref()
            .map(|text| Whole::of(text.as_bytes(), is_executable));
        files.retain(|(file, _)| file != path);
        files.extend(
            whole
                .iter()
                .map(|whole| (path.clone(), whole.entry.clone())),
        );
        if let Some(text) = text {
            ready
                .spots
                .push((path.clone(), ready.spool.put(text.as_bytes())?));
        }
        ready.steps.push(Step {
            path: path.clone(),
            expected,
            wanted: whole.as_ref().map(|whole| whole.entry.clone()),
            chunks: whole.map_or_else(Vec::new, |whole| whole.chunks),
        });
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    let goes = new.get(&home).is_some_and(Option::is_none);
    if !goes {
        let unit = kind.unit(home, files);
        let reading = kind.read(&unit, &mut |path| {
            Ok(match new.get(path) {
                Some(text) => text.clone(),
                None => before.get(path).cloned(),
            })
        })?;
        written::<K>(&unit, reading, &wanted, plan, &mut ready.written)?;
    }
    Ok(())
}

/// What is written down of files that were rendered; they must say what is wanted, or the file is not touched.
fn written<K: Kind>(
    unit: &Unit,
    reading: Reading,
    wanted: &[(Key, Option<Record>)],
    plan: &LocalPlan,
    written: &mut Written,
) -> Result<(), Error> {
    let failed = |key: &Key| Error::Edit {
        path: unit.home.to_string(),
        reason: format!("it would not say what the database has of `{key}`"),
    };
    let said: HashMap<&Key, &Record> = reading
        .items
        .iter()
        .map(|(key, record)| (key, record))
        .collect();
    for (key, record) in wanted {
        if said.get(key).copied() != record.as_ref() {
            return Err(failed(key));
        }
        if let Some(record) = record {
            let at = plan.items.binary_search_by(|item| item.key.cmp(key));
            let mark = at.ok().and_then(|at| plan.items[at].mark.as_deref());
            let digest = record.digest(K::FIELDS);
            written
                .items
                .push(agreed::<K>(key, &digest, &unit.home, mark));
        }
    }
    // What else is in the file has to be agreed on, too, before the file as a whole is.
    let is_agreed = |key: &Key| {
        let is_wanted = wanted.iter().any(|(wanted, _)| wanted == key);
        is_wanted
            || plan
                .items
                .binary_search_by(|item| item.key.cmp(key))
                .is_err()
    };
    if plan.problems.is_empty() && reading.items.iter().all(|(key, _)| is_agreed(key)) {
        let count = reading.items.len();
        written
            .units
            .push((unit.home.clone(), unit.stamp.to_string(), count));
    }
    let frames = reading.frames.into_iter();
    written
        .frames
        .extend(frames.map(|frame| (unit.home.clone(), frame)));
    Ok(())
}

/// Moves everything in, or nothing.
fn move_in(
    tree: &Tree,
    plan: &mut LocalPlan,
    steps: Vec<Step>,
    spool: &Spool,
    spots: &[(TreePath, Spot)],
) -> Result<(), Error> {
    let chunks: HashMap<TreePath, Vec<_>> = steps
        .iter()
        .map(|step| (step.path.clone(), step.chunks.clone()))
        .collect();
    let note = NOTE.to_vec();
    let mut staging = tree.stage(Plan { steps, note }, &plan.cache)?;
    for (path, spot) in spots {
        let bytes = spool.get(*spot)?;
        for (offset, chunk) in placed(chunks.get(path).map_or(&[][..], Vec::as_slice)) {
            let range = usize::try_from(offset).unwrap_or(usize::MAX)
                ..usize::try_from(offset + chunk.len).unwrap_or(usize::MAX);
            let bytes = bytes.get(range).ok_or(Error::Task)?;
            staging.put(&chunk.digest, bytes)?;
        }
    }
    let applied = staging.commit(&|_| ())?;
    applied.refresh(&mut plan.cache)?;
    Ok(())
}

/// What is written down of items and files that stay as they are.
fn add_unchanged<K: Kind>(
    kind: &K,
    tree: &Tree,
    plan: &LocalPlan,
    written: &mut Written,
) -> Result<(), Error> {
    for adopt in &plan.adopt {
        let digest = adopt.seen.disk.unwrap_or_default();
        written.items.push(agreed::<K>(
            &adopt.key,
            &digest,
            &adopt.home,
            adopt.mark.as_deref(),
        ));
    }
    let rewritten: HashSet<&TreePath> = plan
        .changes()
        .filter_map(|item| item.path.as_ref())
        .collect();
    let mut reader = Reader::new(tree)?;
    let mut frames = Vec::new();
    for (home, keys) in &plan.unrecorded {
        let Some(unit) = plan.units.get(home).filter(|_| !rewritten.contains(home)) else {
            continue;
        };
        let reading = reader.read(kind, unit)?;
        frames.extend(
            reading
                .frames
                .into_iter()
                .map(|frame| (home.clone(), frame)),
        );
        written
            .units
            .push((home.clone(), unit.stamp.to_string(), keys.len()));
    }
    written.frames.extend(frames);
    Ok(())
}
