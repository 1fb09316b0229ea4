//! Skills: a directory each below `skills/`, and rows of `agent_skills`.
//!
//! | in the directory | fields | instructions |
//! |---|---|---|
//! | `config.yaml` or `config.yml` | its keys | the file that `file` names, below its front matter |
//! | `SKILL.md` alone, the open Agent Skills layout | front matter | the text below |
//! | `index.md` alone, as older trees have it | front matter: `title`, `description`, `keywords` | the text below |

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use sync_core::{Entry, TreePath};
use sync_files::Tree;

use crate::Error;
use crate::content::skill_sources;
use crate::disk::is_below;
use crate::fields::{Front, edit_fields};
use crate::frame::split;
use crate::kind::{
    Dir, Frame, Kind, Look, Reading, Statements, Texts, Unit, has_extension, mapping, stamp, wrong,
    wrong_yaml,
};
use crate::record::{Field, Key, Record, Shape, Value};
use crate::yaml::{self, Wanted};

mod rows;

/// Skills of agents.
#[derive(Debug, Clone)]
pub(crate) struct Skills {
    /// The sources whose rows are ours.
    sources: Vec<String>,
}

const FIELDS: &[Field] = &[
    Field::new("name", Shape::Text),
    Field::new("description", Shape::Text),
    Field::new("enabled", Shape::Flag),
    Field::new("tags", Shape::List),
    Field::new("category", Shape::Optional),
    Field::new("instructions", Shape::Body),
];

/// Where skills are, from the top of the tree.
const DIR: &str = "skills";
/// The content file of a skill whose configuration names none.
const INDEX: &str = "index.md";
const SKILL: &str = "SKILL.md";

/// How the directory of a skill is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// A configuration and a content file.
    Two,
    /// `SKILL.md`.
    Open,
    /// `index.md`.
    Older,
}

impl Layout {
    /// By the name of its home.
    fn of(name: &str) -> Option<Self> {
        match name {
            "config.yaml" | "config.yml" => Some(Self::Two),
            SKILL => Some(Self::Open),
            INDEX => Some(Self::Older),
            _ => None,
        }
    }

    /// The key under which a field stands; `None` for what is no key.
    const fn key_of(self, field: &'static str) -> Option<&'static str> {
        match (self, field.as_bytes()) {
            (_, b"instructions") => None,
            (Self::Older, b"name") => Some("title"),
            (Self::Older, b"tags") => Some("keywords"),
            _ => Some(field),
        }
    }
}

impl Kind for Skills {
    const NAME: &'static str = "skill";
    const FIELDS: &'static [Field] = FIELDS;
    const TABLES: &'static [&'static str] = &["public.agent_skills"];
    const FILES_ARE_TRUTH: bool = false;
    const SHARES_FILES: bool = false;
    const ROWS_HAVE_PATHS: bool = true;
    const KEY_COLUMNS: &'static str = "skill_id text";
    const KEY_JOIN: &'static str = "k.skill_id = m.skill_id";
    const ROW_COLUMNS: &'static str = rows::COLUMNS;

    fn open(tree: &Tree) -> Result<Self, Error> {
        let mut sources = skill_sources(tree)?;
        sources.push(rows::SOURCE.to_owned());
        Ok(Self { sources })
    }

    fn dirs(&self) -> Vec<Dir> {
        vec![Dir::optional(DIR, "skills")]
    }

    fn may_be(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        Layout::of(name).is_some() || has_extension(name, "md")
    }

    fn may_hold(&self, path: &str) -> bool {
        is_below(path, DIR) && path.matches('/').count() == 1
    }

    fn claim<'p>(&self, path: &'p str) -> &'p str {
        // Of the files that can be a home only one is.
        match path.rsplit_once('/') {
            Some((dir, name)) if Layout::of(name).is_some() && self.may_hold(dir) => dir,
            _ => path,
        }
    }

    fn holds(&self, home: &TreePath) -> bool {
        let parts: Vec<&str> = home.components().collect();
        matches!(parts.as_slice(), [DIR, _, name] if Layout::of(name).is_some())
    }

    fn units(&self, files: Vec<(TreePath, Entry)>, problems: &mut Vec<Error>) -> Vec<Unit> {
        let mut dirs: BTreeMap<String, Vec<(TreePath, Entry)>> = BTreeMap::new();
        for (path, entry) in files {
            let mut parts = path.components();
            let (top, dir, below) = (parts.next(), parts.next(), parts.next());
            if top == Some(DIR) && below.is_some() {
                let dir = dir.unwrap_or_default().to_owned();
                drop(parts);
                dirs.entry(dir).or_default().push((path, entry));
            }
        }
        let mut units = Vec::new();
        for (dir, files) in dirs {
            let named = |name: &str| {
                let path = format!("{DIR}/{dir}/{name}");
                let mut found = files
                    .iter()
                    .filter(|(_, entry)| matches!(entry, Entry::File { .. }));
                found
                    .find(|(file, _)| file.as_str() == path)
                    .map(|(file, _)| file.clone())
            };
            let configs = ["config.yaml", "config.yml"].map(named);
            if let [Some(one), Some(other)] = &configs {
                problems.push(wrong(
                    other,
                    1,
                    format!("`{one}` configures the skill, too"),
                ));
                continue;
            }
            let home = configs.into_iter().flatten().next();
            if let Some(home) = home.or_else(|| named(SKILL)).or_else(|| named(INDEX)) {
                units.push(self.unit(home, files));
            }
        }
        units
    }

    fn unit(&self, home: TreePath, files: Vec<(TreePath, Entry)>) -> Unit {
        let stamp = stamp(home.as_str(), &files);
        Unit { home, files, stamp }
    }

    fn read(&self, unit: &Unit, look: &mut Look<'_>) -> Result<Reading, Error> {
        let home = &unit.home;
        let layout = layout(home)?;
        let text = look(home)?.unwrap_or_default();
        if layout == Layout::Two {
            let (bare, node) = config(home, &text)?;
            let front = front(home, node.as_ref(), 0)?;
            let content = content_file(home, &front, &mut |path| Ok(look(path)?.is_some()))?;
            let Some(page) = look(&content)? else {
                let reason = format!("its content file `{content}` is not there");
                return Err(front.wrong(front.get("file"), reason));
            };
            let parts = split(&page).map_err(|reason| wrong(&content, 1, reason))?;
            let item = skill(layout, &front, parts.body)?;
            let head = format!("{}{bare}", &text[..text.len() - bare.len()]);
            let config = Frame {
                path: home.clone(),
                head,
                tail: None,
            };
            let frames = vec![config, page_frame(&content, parts.head, parts.tail)];
            return Ok(Reading {
                items: vec![item],
                frames,
            });
        }
        let parts = split(&text).map_err(|reason| wrong(home, 1, reason))?;
        let above = parts.lines_above();
        let node = yaml::parse(parts.front()).map_err(|error| wrong_yaml(home, above, error))?;
        let front = front(home, node.as_ref(), above)?;
        if parts.yaml.is_none() {
            return Err(wrong(
                home,
                1,
                "there is no front matter between `---` lines",
            ));
        }
        Ok(Reading {
            items: vec![skill(layout, &front, parts.body)?],
            frames: vec![page_frame(home, parts.head, parts.tail)],
        })
    }

    fn home(&self, key: &Key, _: &Record) -> Result<TreePath, Error> {
        let unnamable = |reason: String| Error::Unnamable {
            kind: Self::NAME,
            key: key.to_string(),
            reason,
        };
        if !is_id(key.as_str()) {
            return Err(unnamable(BAD_ID.to_owned()));
        }
        let path = format!("{DIR}/{key}/{SKILL}");
        TreePath::new(path).map_err(|error| unnamable(error.to_string()))
    }

    fn write(
        &self,
        home: &TreePath,
        mut texts: Texts,
        wanted: &[(Key, Option<Record>)],
    ) -> Result<BTreeMap<TreePath, Option<String>>, Error> {
        let layout = layout(home)?;
        let Some((key, wanted)) = wanted.first() else {
            return Ok(BTreeMap::new());
        };
        let Some(text) = texts.remove(home) else {
            return Ok(match wanted {
                Some(wanted) => BTreeMap::from([(home.clone(), Some(new_skill(key, wanted)))]),
                None => BTreeMap::from([(home.clone(), None)]),
            });
        };
        let key_of = |name| layout.key_of(name);
        if layout == Layout::Two {
            let (bare, node) = config(home, &text)?;
            let front = front(home, node.as_ref(), 0)?;
            let content = content_file(home, &front, &mut |path| Ok(texts.contains_key(path)))?;
            let Some(wanted) = wanted else {
                return Ok(BTreeMap::from([(home.clone(), None), (content, None)]));
            };
            let page = texts.remove(&content).unwrap_or_default();
            let parts = split(&page).map_err(|reason| wrong(&content, 1, reason))?;
            let (_, now) = skill(layout, &front, parts.body)?;
            let lead = &text[..text.len() - bare.len()];
            let bare = edit_fields(home, bare.to_owned(), FIELDS, &now.0, &wanted.0, key_of)?;
            let page = parts.with(parts.front(), wanted.body(FIELDS));
            return Ok(BTreeMap::from([
                (home.clone(), Some(format!("{lead}{bare}"))),
                (content, Some(page)),
            ]));
        }
        let Some(wanted) = wanted else {
            return Ok(BTreeMap::from([(home.clone(), None)]));
        };
        let parts = split(&text).map_err(|reason| wrong(home, 1, reason))?;
        let above = parts.lines_above();
        let node = yaml::parse(parts.front()).map_err(|error| wrong_yaml(home, above, error))?;
        let (_, now) = skill(layout, &front(home, node.as_ref(), above)?, parts.body)?;
        let front = parts.front().to_owned();
        let front = edit_fields(home, front, FIELDS, &now.0, &wanted.0, key_of)?;
        Ok(BTreeMap::from([(
            home.clone(),
            Some(parts.with(&front, wanted.body(FIELDS))),
        )]))
    }

    fn key_columns(key: &Key) -> Vec<(&'static str, Json)> {
        vec![("skill_id", key.as_str().into())]
    }

    fn complete(row: &mut Map<String, Json>, home: &TreePath, _: &mut dyn FnMut() -> String) {
        row.insert("file_path".to_owned(), home.as_str().into());
    }

    fn rows(&self) -> String {
        rows::query(&self.sources)
    }

    fn statements() -> Statements {
        rows::STATEMENTS
    }
}

fn layout(home: &TreePath) -> Result<Layout, Error> {
    let name = home.components().next_back().unwrap_or_default();
    Layout::of(name).ok_or_else(|| wrong(home, 1, "it is not the file of a skill"))
}

/// The directory that a file is in.
fn directory(home: &TreePath) -> &str {
    home.as_str().rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// The configuration without a byte order mark, and what it says.
fn config<'t>(home: &TreePath, text: &'t str) -> Result<(&'t str, Option<yaml::Node>), Error> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let node = yaml::parse(bare).map_err(|error| wrong_yaml(home, 0, error))?;
    Ok((bare, node))
}

fn front<'f>(
    path: &'f TreePath,
    node: Option<&'f yaml::Node>,
    above: usize,
) -> Result<Front<'f>, Error> {
    mapping(path, node, above)?;
    Ok(Front { path, node, above })
}

fn page_frame(path: &TreePath, head: &str, tail: &str) -> Frame {
    Frame {
        path: path.clone(),
        head: head.to_owned(),
        tail: Some(tail.to_owned()),
    }
}

/// The content file that a configuration names. Where it names none it is `index.md`, or `SKILL.md` where only that is there.
fn content_file(
    home: &TreePath,
    front: &Front<'_>,
    is_there: &mut dyn FnMut(&TreePath) -> Result<bool, Error>,
) -> Result<TreePath, Error> {
    let dir = directory(home);
    let named = front.text("file")?.filter(|file| !file.is_empty());
    let at = |file: &str| {
        TreePath::new(format!("{dir}/{file}"))
            .map_err(|error| front.wrong(front.get("file"), format!("`file` is refused: {error}")))
    };
    if let Some(file) = named {
        let file = at(&file)?;
        if file == *home {
            return Err(front.wrong(front.get("file"), "`file` names the configuration itself"));
        }
        return Ok(file);
    }
    let (index, skill) = (at(INDEX)?, at(SKILL)?);
    let only_skill = !is_there(&index)? && is_there(&skill)?;
    Ok(if only_skill { skill } else { index })
}

/// What a configuration, or front matter, and the text below it say.
fn skill(layout: Layout, front: &Front<'_>, body: &str) -> Result<(Key, Record), Error> {
    let dir = directory(front.path);
    let dir = dir.rsplit('/').next().unwrap_or(dir);
    let id = front.text("id")?.filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| dir.replace('-', "_"));
    if !is_id(&id) {
        return Err(front.wrong(front.get("id"), format!("`id` is refused: {BAD_ID}")));
    }
    let value = |field: &Field| {
        let Some(key) = layout.key_of(field.name) else {
            return Ok(Value::Text(body.to_owned()));
        };
        let value = match (layout, field.name) {
            (Layout::Older, "tags") => tags_of_keywords(front.value(key, Shape::Text)?),
            _ => front.value(key, field.shape)?,
        };
        Ok(match (field.name, value) {
            ("enabled", Value::Absent) => Value::Flag(true),
            ("name", Value::Text(name)) if name.is_empty() => Value::Text(dir.replace('_', " ")),
            (_, value) => value,
        })
    };
    let values = FIELDS.iter().map(value).collect::<Result<_, Error>>()?;
    Ok((Key(id.into()), Record(values)))
}

/// `a, b` as a list.
fn tags_of_keywords(keywords: Value) -> Value {
    let Value::Text(words) = keywords else {
        return Value::Absent;
    };
    let words = words
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    Value::List(words.map(str::to_owned).collect()).normal(Shape::List)
}

/// A skill that has no file yet, in the open layout.
fn new_skill(key: &Key, record: &Record) -> String {
    let mut front = String::new();
    let mut put = |key: &str, value: Wanted<'_>| front.push_str(&yaml::entry(0, key, value, "\n"));
    // A directory that has the id as its name says it by that, but for dashes.
    if key.as_str().contains('-') {
        put("id", Wanted::Text(key.as_str()));
    }
    put("name", Wanted::Text(record.text(FIELDS, "name")));
    put(
        "description",
        Wanted::Text(record.text(FIELDS, "description")),
    );
    if *record.value(FIELDS, "enabled") == Value::Flag(false) {
        put("enabled", Wanted::Flag(false));
    }
    if let Value::List(tags) = record.value(FIELDS, "tags") {
        put("tags", Wanted::List(tags));
    }
    if let Value::Text(category) = record.value(FIELDS, "category") {
        put("category", Wanted::Text(category));
    }
    let body = record.body(FIELDS);
    let end = if body.is_empty() { "" } else { "\n" };
    format!("---\n{front}---\n{end}{body}{end}")
}

const BAD_ID: &str = "an id is letters, digits, `_`, `-` and `.`, and does not begin with `.`";

/// Whether an id can name a directory.
fn is_id(id: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    !id.is_empty() && id.len() <= 200 && !id.starts_with('.') && id.bytes().all(is_plain)
}
