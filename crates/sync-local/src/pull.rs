//! Rows to files: rendered one by one into a private file, then moved in as one journalled apply, then written down.
//!
//! A crash before the apply leaves everything as it was, one in the middle is finished or undone by whoever recovers, and
//! one after it leaves two sides that are equal, which the next run writes down.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sync_core::{Entry, TreePath};
use sync_db::{Database, Isolation};
use sync_files::{Plan, Step, Tree, Whole, placed};

use crate::Error;
use crate::decide::Verdict;
use crate::disk::{MAX_FILE, Place, Reader};
use crate::kind::{Frame, Kind, Reading, Texts, Unit};
use crate::local::{LocalOutcome, NOTE};
use crate::plan::{LocalItem, LocalPlan};
use crate::push::{BATCH, BATCH_BYTES, Written, agreed, forget, write_down};
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
#[derive(Debug, Default)]
struct Ready {
    /// Where texts go; `None` where nobody wants them.
    spool: Option<Spool>,
    /// What cannot be rendered, by home; `None` where that stops everything.
    unfit: Option<Vec<(TreePath, Error)>>,
    steps: Vec<Step>,
    spots: Vec<(TreePath, Spot)>,
    written: Written,
}

/// Takes out of a plan what cannot be rendered, and says why. Nothing is written.
pub(crate) async fn rehearse<K: Kind>(
    database: &Database,
    place: &Place,
    kind: K,
    plan: LocalPlan,
) -> Result<LocalPlan, Error> {
    let shared = Arc::new(plan);
    let ready = Ready {
        unfit: Some(Vec::new()),
        ..Ready::default()
    };
    let done = render_all(database, place, &Arc::new(kind), &shared, ready).await;
    let mut plan = Arc::into_inner(shared).ok_or(Error::Task)?;
    let unfit = match done {
        Ok(ready) => ready.unfit.unwrap_or_default(),
        // Whoever applies the plan finds that out, and makes a new one.
        Err(error) if error.is_moved() => return Ok(plan),
        Err(error) => return Err(error),
    };
    for (home, error) in unfit {
        let stays =
            |item: &LocalItem| !item.verdict.is_change() || item.path.as_ref() != Some(&home);
        plan.items.retain(stays);
        plan.unrecorded.remove(&home);
        plan.problems.push(error);
    }
    Ok(plan)
}

/// Does what the plan says; `held` keeps others away from the directory.
pub(crate) async fn apply<K: Kind>(
    database: &Database,
    place: &Place,
    kind: K,
    copy: &str,
    plan: LocalPlan,
    held: Arc<dyn Any + Send + Sync>,
) -> Result<LocalOutcome, Error> {
    database.ensure_bookkeeping().await?;
    let kind = Arc::new(kind);
    let shared = Arc::new(plan);
    let ready = Ready {
        spool: Some(Spool::new(&place.cache_dir(K::NAME))?),
        ..Ready::default()
    };
    let ready = render_all(database, place, &kind, &shared, ready).await?;
    let mut plan = Arc::into_inner(shared).ok_or(Error::Task)?;
    let place = place.clone();
    let (plan, written) = blocking(move || {
        let _held = held;
        let tree = place.open()?;
        let mut written = ready.written;
        add_unchanged(&*kind, &tree, &plan, &mut written)?;
        if let Some(spool) = ready.spool.filter(|_| !ready.steps.is_empty()) {
            move_in(&tree, &mut plan, ready.steps, &spool, &ready.spots)?;
        }
        plan.cache.save(&made(place.cache_dir(K::NAME))?)?;
        Ok((plan, written))
    })
    .await?;
    let transaction = database.begin(WRITING, Isolation::Latest).await?;
    transaction.lock_local(WRITING).await?;
    for part in written.parts() {
        write_down::<K>(&transaction, copy, &part, None).await?;
    }
    forget::<K>(&transaction, copy, &plan).await?;
    transaction.commit(WRITING).await?;
    Ok(LocalOutcome::of(&plan))
}

/// Renders everything that changes, part by part, so that only the rows of a part are in memory.
async fn render_all<K: Kind>(
    database: &Database,
    place: &Place,
    kind: &Arc<K>,
    plan: &Arc<LocalPlan>,
    mut ready: Ready,
) -> Result<Ready, Error> {
    let mut homes: BTreeMap<TreePath, Vec<(Key, bool, usize)>> = BTreeMap::new();
    for item in plan.changes() {
        let home = item.path.clone().ok_or(Error::Task)?;
        let stays = item.verdict != Verdict::Delete;
        let items = homes.entry(home).or_default();
        items.push((item.key.clone(), stays, item.size));
    }
    let transaction = database.begin(READING, Isolation::Snapshot).await?;
    let mut homes = homes.into_iter().peekable();
    while homes.peek().is_some() {
        let mut part = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        while let Some((home, items)) = homes.next_if(|_| count < BATCH && bytes < BATCH_BYTES) {
            count += items.len();
            bytes += items.iter().map(|(_, _, size)| size).sum::<usize>();
            part.push((home, items));
        }
        let asked = part.iter().flat_map(|(_, items)| items);
        let asked = asked.filter(|(_, stays, _)| *stays).map(|(key, ..)| key);
        let mut found = records(&transaction, &**kind, &keys::<K>(asked)).await?;
        let absent: Vec<&TreePath> = part.iter().map(|(home, _)| home).collect();
        let mut kept = frames::<K>(&transaction, &absent).await?;
        let mut jobs = Vec::new();
        for (home, items) in part {
            let mut wanted = Vec::new();
            for (key, stays, _) in items {
                let record = if stays {
                    Some(take::<K>(&mut found, plan, &key)?)
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
        let (kind, place, plan) = (Arc::clone(kind), place.clone(), Arc::clone(plan));
        ready = blocking(move || render_part(&*kind, &place, &plan, jobs, ready)).await?;
    }
    transaction.commit(READING).await?;
    Ok(ready)
}

fn render_part<K: Kind>(
    kind: &K,
    place: &Place,
    plan: &LocalPlan,
    jobs: Vec<Job>,
    mut ready: Ready,
) -> Result<Ready, Error> {
    let tree = place.open()?;
    let mut reader = Reader::new(&tree)?;
    for job in jobs {
        let home = job.home.clone();
        let done = render(kind, &mut reader, plan, job, &mut ready);
        let Some(mut unfit) = ready.unfit.take() else {
            done?;
            continue;
        };
        match done {
            Err(error) if !error.is_of_an_item() => return Err(error),
            done => unfit.extend(done.err().map(|error| (home, error))),
        }
        // Nothing but what cannot be done is asked for.
        ready = Ready {
            unfit: Some(unfit),
            ..Ready::default()
        };
    }
    Ok(ready)
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
    // Whether somebody has kept other files of this home, while ours are as they were agreed on.
    let mut is_older = false;
    if let Some(unit) = there {
        // Whatever is looked at in reading them is what can change in writing them.
        let reading = kind.read(unit, &mut |path| {
            let text = reader.text(unit, path)?;
            texts.extend(text.clone().map(|text| (path.clone(), text)));
            Ok(text)
        })?;
        let is_kept = |frame: &Frame| frames.contains(frame);
        let is_same = frames.len() == reading.frames.len() && reading.frames.iter().all(is_kept);
        is_older = !frames.is_empty() && !is_same && !plan.edited.contains(&home);
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
        let entry = add_step(plan, path, text.as_deref(), ready)?;
        files.retain(|(file, _)| file != path);
        files.extend(entry.map(|entry| (path.clone(), entry)));
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
        });
        let reading = reading.map_err(|error| unwritable::<K>(error, there.is_some(), &wanted))?;
        let frames = written::<K>(&unit, reading, &wanted, plan, &mut ready.written)?;
        let list = if is_older {
            &mut ready.written.first
        } else {
            &mut ready.written.frames
        };
        list.extend(frames);
    }
    Ok(())
}

/// Adds what becomes of one file, and gives what it will be; `None` where it goes.
fn add_step(
    plan: &LocalPlan,
    path: &TreePath,
    text: Option<&str>,
    ready: &mut Ready,
) -> Result<Option<Entry>, Error> {
    let expected = plan.entries.get(path).cloned();
    let is_executable = matches!(
        expected,
        Some(Entry::File {
            executable: true,
            ..
        })
    );
    if text.is_some_and(|text| text.len() > MAX_FILE) {
        return Err(Error::Edit {
            path: path.to_string(),
            reason: format!("it would be longer than {MAX_FILE} bytes"),
        });
    }
    if let (Some(text), Some(spool)) = (text, &mut ready.spool) {
        let spot = spool.put(text.as_bytes())?;
        ready.spots.push((path.clone(), spot));
    }
    let whole = text.map(|text| Whole::of(text.as_bytes(), is_executable));
    let wanted = whole.as_ref().map(|whole| whole.entry.clone());
    ready.steps.push(Step {
        path: path.clone(),
        expected,
        wanted: wanted.clone(),
        chunks: whole.map_or_else(Vec::new, |whole| whole.chunks),
    });
    Ok(wanted)
}

/// A row that no file can say, by what would be wrong with the file.
fn unwritable<K: Kind>(error: Error, is_there: bool, wanted: &[(Key, Option<Record>)]) -> Error {
    match (error, wanted.first()) {
        (Error::Parse { path, line, reason }, _) if is_there => Error::Edit {
            path,
            reason: format!("line {line} would say what the database has, and then {reason}"),
        },
        (Error::Parse { reason, .. }, Some((key, _))) => Error::Unnamable {
            kind: K::NAME,
            key: key.to_string(),
            reason,
        },
        (error, _) => error,
    }
}

/// What is written down of files that were rendered, but for what is kept of them, which it gives; they must say what is wanted, or the file is not touched.
fn written<K: Kind>(
    unit: &Unit,
    reading: Reading,
    wanted: &[(Key, Option<Record>)],
    plan: &LocalPlan,
    written: &mut Written,
) -> Result<Vec<(TreePath, Frame)>, Error> {
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
    Ok(frames.map(|frame| (unit.home.clone(), frame)).collect())
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
    for (home, keys) in &plan.unrecorded {
        let Some(unit) = plan.units.get(home).filter(|_| !rewritten.contains(home)) else {
            continue;
        };
        let reading = reader.read(kind, unit)?;
        // An older clone that says the same has nothing newer to keep.
        let list = if plan.edited.contains(home) {
            &mut written.frames
        } else {
            &mut written.first
        };
        list.extend(
            reading
                .frames
                .into_iter()
                .map(|frame| (home.clone(), frame)),
        );
        written
            .units
            .push((home.clone(), unit.stamp.to_string(), keys.len()));
    }
    Ok(())
}
