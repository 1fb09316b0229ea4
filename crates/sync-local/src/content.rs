//! Pages: Markdown files of the sources that `content/config.yaml` names, and rows of `markdown_content`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use sync_core::{Entry, TreePath};
use sync_files::Tree;

use crate::Error;
use crate::fields::{Front, edit_fields};
use crate::frame::split;
use crate::kind::{
    Dir, Frame, Kind, Look, Reading, Statements, Texts, Unit, has_extension, stamp, wrong,
    wrong_yaml,
};
use crate::record::{Field, Key, Record, Shape, Value};
use crate::yaml::{self, Wanted};

mod rows;
mod sources;

pub(crate) use sources::skill_sources;
use sources::{CONFIG, Source, read_sources};

/// Pages of content.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    sources: Vec<Source>,
    is_configured: bool,
}

const FIELDS: &[Field] = &[
    Field::new("title", Shape::Text),
    Field::new("kind", Shape::Text),
    Field::new("author", Shape::Text),
    Field::new("published_at", Shape::Instant),
    Field::new("description", Shape::Text),
    Field::new("keywords", Shape::Text),
    Field::new("image", Shape::Optional),
    Field::new("category", Shape::Optional),
    Field::new("links", Shape::Json),
    Field::new("public", Shape::Flag),
    Field::new("source", Shape::Text),
    Field::new("body", Shape::Body),
];

/// The language of a page that names none.
const LOCALE: &str = "en";
/// What stands between slug and locale in a key.
const AT: char = '@';

impl Kind for Content {
    const NAME: &'static str = "content";
    const FIELDS: &'static [Field] = FIELDS;
    const TABLES: &'static [&'static str] = &["public.markdown_content"];
    const FILES_ARE_TRUTH: bool = false;
    const SHARES_FILES: bool = false;
    const ROWS_HAVE_PATHS: bool = false;
    const KEY_COLUMNS: &'static str = "slug text, locale text";
    const KEY_JOIN: &'static str = "k.slug = m.slug AND k.locale = m.locale";
    const ROW_COLUMNS: &'static str = rows::COLUMNS;

    fn open(tree: &Tree) -> Result<Self, Error> {
        let sources = read_sources(tree)?;
        Ok(Self {
            is_configured: sources.is_some(),
            sources: sources.unwrap_or_default(),
        })
    }

    fn dirs(&self) -> Vec<Dir> {
        let dir = |source: &Source| Dir {
            path: source.dir.clone(),
            what: format!("the content source `{}`", source.name),
            is_optional: false,
        };
        self.sources.iter().map(dir).collect()
    }

    fn may_be(&self, path: &str) -> bool {
        has_extension(path, "md")
    }

    fn may_hold(&self, _: &str) -> bool {
        true
    }

    fn claim<'p>(&self, path: &'p str) -> &'p str {
        path
    }

    fn missing(&self) -> Option<&'static str> {
        (!self.is_configured).then_some(CONFIG)
    }

    fn holds(&self, home: &TreePath) -> bool {
        self.may_be(home.as_str()) && self.source_at(home).is_some()
    }

    fn units(&self, files: Vec<(TreePath, Entry)>, _: &mut Vec<Error>) -> Vec<Unit> {
        let pages = files
            .into_iter()
            .filter(|(path, entry)| matches!(entry, Entry::File { .. }) && self.holds(path));
        pages
            .map(|(path, entry)| self.unit(path.clone(), vec![(path, entry)]))
            .collect()
    }

    fn unit(&self, home: TreePath, files: Vec<(TreePath, Entry)>) -> Unit {
        let source = self.source_at(&home);
        let context = source.map_or_else(String::new, Source::context);
        let stamp = stamp(&context, &files);
        Unit { home, files, stamp }
    }

    fn read(&self, unit: &Unit, look: &mut Look<'_>) -> Result<Reading, Error> {
        let path = &unit.home;
        let Some(source) = self.source_at(path) else {
            return Err(wrong(path, 1, "it is in no content source"));
        };
        let text = look(path)?.unwrap_or_default();
        let parts = split(&text).map_err(|reason| wrong(path, 1, reason))?;
        let above = parts.lines_above();
        let node = yaml::parse(parts.front()).map_err(|error| wrong_yaml(path, above, error))?;
        if parts.yaml.is_none() {
            return Err(wrong(
                path,
                1,
                "there is no front matter between `---` lines",
            ));
        }
        let front = Front {
            path,
            node: node.as_ref(),
            above,
        };
        let (key, record) = page(&front, source, parts.body)?;
        let frame = Frame {
            path: path.clone(),
            head: parts.head.to_owned(),
            tail: Some(parts.tail.to_owned()),
        };
        Ok(Reading {
            items: vec![(key, record)],
            frames: vec![frame],
        })
    }

    fn home(&self, key: &Key, record: &Record) -> Result<TreePath, Error> {
        let (slug, locale) = named(key);
        let unnamable = |reason: &str| Error::Unnamable {
            kind: Self::NAME,
            key: key.to_string(),
            reason: reason.to_owned(),
        };
        if !is_slug(slug) {
            return Err(unnamable(BAD_SLUG));
        }
        if !is_locale(locale) {
            return Err(unnamable("its locale is not letters, digits and `-`"));
        }
        let id = record.text(FIELDS, "source");
        let source = self.sources.iter().find(|source| source.id == id);
        let source = source.ok_or_else(|| unnamable("its source is not configured"))?;
        if !source.is_recursive && slug.contains('/') {
            return Err(unnamable("its source has no directories"));
        }
        let suffix = if locale == LOCALE {
            String::new()
        } else {
            format!(".{locale}")
        };
        TreePath::new(format!("{}/{slug}{suffix}.md", source.dir))
            .map_err(|error| unnamable(&error.to_string()))
    }

    fn write(
        &self,
        home: &TreePath,
        mut texts: Texts,
        wanted: &[(Key, Option<Record>)],
    ) -> Result<BTreeMap<TreePath, Option<String>>, Error> {
        let Some((key, Some(wanted))) = wanted.first() else {
            return Ok(BTreeMap::from([(home.clone(), None)]));
        };
        let Some(source) = self.source_at(home) else {
            return Err(wrong(home, 1, "it is in no content source"));
        };
        let body = wanted.body(FIELDS);
        let Some(text) = texts.remove(home) else {
            let front = new_front(key, wanted, source);
            let end = if body.is_empty() { "" } else { "\n" };
            let text = format!("---\n{front}---\n{end}{body}{end}");
            return Ok(BTreeMap::from([(home.clone(), Some(text))]));
        };
        let parts = split(&text).map_err(|reason| wrong(home, 1, reason))?;
        let above = parts.lines_above();
        let node = yaml::parse(parts.front()).map_err(|error| wrong_yaml(home, above, error))?;
        let front = Front {
            path: home,
            node: node.as_ref(),
            above,
        };
        let (_, now) = page(&front, source, parts.body)?;
        let key_of = |name| (!["source", "body"].contains(&name)).then_some(name);
        let front = parts.front().to_owned();
        let front = edit_fields(home, front, FIELDS, &now.0, &wanted.0, key_of)?;
        let text = parts.with(&front, body);
        Ok(BTreeMap::from([(home.clone(), Some(text))]))
    }

    fn key_columns(key: &Key) -> Vec<(&'static str, Json)> {
        let (slug, locale) = named(key);
        vec![("slug", slug.into()), ("locale", locale.into())]
    }

    fn complete(row: &mut Map<String, Json>, _: &TreePath, fresh: &mut dyn FnMut() -> String) {
        row.insert("id".to_owned(), fresh().into());
    }

    fn rows(&self) -> String {
        let ids = self.sources.iter().map(|source| source.id.as_str());
        rows::query(&ids.collect::<Vec<_>>())
    }

    fn statements() -> Statements {
        rows::STATEMENTS
    }
}

impl Content {
    /// The source that a file belongs to: the innermost one that it is in.
    fn source_at(&self, path: &TreePath) -> Option<&Source> {
        let holding = self.sources.iter().filter(|source| source.holds(path));
        holding.max_by_key(|source| source.dir.as_str().len())
    }
}

/// What front matter and body say.
fn page(front: &Front<'_>, source: &Source, body: &str) -> Result<(Key, Record), Error> {
    for key in ["title", "slug", "kind", "author"] {
        front.required(key)?;
    }
    let slug = front.required("slug")?;
    if !is_slug(&slug) {
        return Err(front.wrong(front.get("slug"), format!("`slug` is refused: {BAD_SLUG}")));
    }
    let locale = front.text("locale")?.filter(|locale| !locale.is_empty());
    let locale = locale.unwrap_or_else(|| LOCALE.to_owned());
    if !is_locale(&locale) {
        return Err(front.wrong(
            front.get("locale"),
            "`locale` is not letters, digits and `-`",
        ));
    }
    let kind = front.required("kind")?;
    if !source.allows(&kind) {
        let reason = format!(
            "`kind` is `{kind}`, and source `{}` has {}",
            source.name,
            source.types.join(", ")
        );
        return Err(front.wrong(front.get("kind"), reason));
    }
    let value = |field: &Field| {
        let read = || front.value(field.name, field.shape);
        Ok(match field.name {
            "source" => Value::Text(source.id.clone()),
            "body" => Value::Text(body.to_owned()),
            "published_at" => match read()? {
                Value::Absent => return Err(front.wrong(None, "`published_at` is missing")),
                day => day,
            },
            "public" => match read()? {
                Value::Absent => Value::Flag(true),
                flag => flag,
            },
            // An empty category is none; one that is not named is that of the source.
            "category" if front.get("category").is_none() => {
                source.category.clone().map_or(Value::Absent, Value::Text)
            }
            "links" => links(front, read()?)?,
            _ => read()?,
        })
    };
    let values = FIELDS.iter().map(value).collect::<Result<_, Error>>()?;
    Ok((key_of(&slug, &locale), Record(values)))
}

/// Links are a list of `title` and `url`.
fn links(front: &Front<'_>, value: Value) -> Result<Value, Error> {
    let is_link = |link: &Json| link["title"].is_string() && link["url"].is_string();
    match &value {
        Value::Absent => Ok(value),
        Value::Json(Json::Array(links)) if links.iter().all(is_link) => Ok(value),
        _ => {
            let reason = "`links` is not a list of `title` and `url`";
            Err(front.wrong(front.get("links"), reason))
        }
    }
}

/// The front matter of a page that has no file yet.
fn new_front(key: &Key, record: &Record, source: &Source) -> String {
    let (slug, locale) = named(key);
    let mut front = String::new();
    let mut put = |key: &str, value: Wanted<'_>| front.push_str(&yaml::entry(0, key, value, "\n"));
    put("title", Wanted::Text(record.text(FIELDS, "title")));
    put("slug", Wanted::Text(slug));
    for key in ["kind", "author", "published_at"] {
        put(key, Wanted::Text(record.text(FIELDS, key)));
    }
    if locale != LOCALE {
        put("locale", Wanted::Text(locale));
    }
    for key in ["description", "keywords", "image"] {
        let text = record.text(FIELDS, key);
        if !text.is_empty() {
            put(key, Wanted::Text(text));
        }
    }
    let category = record.text(FIELDS, "category");
    if category != source.category.as_deref().unwrap_or_default() {
        put("category", Wanted::Text(category));
    }
    if let Value::Json(links) = record.value(FIELDS, "links") {
        put("links", Wanted::Json(links));
    }
    if *record.value(FIELDS, "public") == Value::Flag(false) {
        put("public", Wanted::Flag(false));
    }
    front
}

/// The key of a page.
fn key_of(slug: &str, locale: &str) -> Key {
    if locale == LOCALE && !slug.contains(AT) {
        Key(slug.into())
    } else {
        Key(format!("{slug}{AT}{locale}").into())
    }
}

/// Slug and locale of a key.
fn named(key: &Key) -> (&str, &str) {
    key.as_str()
        .rsplit_once(AT)
        .unwrap_or((key.as_str(), LOCALE))
}

const BAD_SLUG: &str = "a slug is `a-z`, `0-9` and `-`, in parts joined by `/`";

/// Whether a slug can name a file. Nothing that leads out of a directory is one.
fn is_slug(slug: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.len() <= 200 && part.bytes().all(is_plain)
    };
    slug.len() <= 1000 && slug.split('/').all(is_part)
}

fn is_locale(locale: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !locale.is_empty() && locale.len() <= 35 && locale.bytes().all(is_plain)
}
