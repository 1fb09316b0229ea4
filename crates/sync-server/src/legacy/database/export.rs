//! The rows as JSON, written while it travels.

use std::collections::HashMap;
use std::io::{self, Write};

use http::{Response, StatusCode};
use serde_json::{Map as Object, json};
use snafu::OptionExt;
use sync_core::Digest;
use sync_core::map;
use sync_core::rows::{Cell, load_content};
use sync_store::{Repository, RepositoryNodes};
use sync_transport::Body;

use super::cell::{as_uuid, texts};
use super::layout::Layout;
use super::record::{Item, Record, Value};
use super::table::Table;
use crate::error::MalformedSnafu;
use crate::legacy::form::Form;
use crate::legacy::land::map_error;
use crate::legacy::outgoing::{JSON, Outgoing, stream};
use crate::legacy::{BRANCH, answer, blocking, turn};
use crate::{Error, Server, rows};

/// What is exported.
#[derive(Debug)]
struct Export {
    layout: Layout,
    nodes: RepositoryNodes,
    /// In the order of the layout's lists; `None` where the tenant has none, or it is not asked for.
    tables: [Option<Table>; 3],
    /// Which agent lists a skill, where skills do not say it themselves.
    owners: HashMap<[u8; 16], [u8; 16]>,
    time: String,
}

/// Serves an export.
pub(in crate::legacy) async fn serve(
    server: &Server,
    repository: &Repository,
    layout: Layout,
    query: &Form,
) -> Result<Response<Body>, Error> {
    let asked = asked(layout, query)?;
    let current = rows::current(server, repository, BRANCH).await?;
    let turn = turn(&server.legacy().pulls).await?;
    let (nodes, time) = (repository.nodes(), answer::time(server.now()));
    let found = blocking(move || Export::find(layout, nodes, current.tables, asked, time)).await?;
    let body = stream(move |out| {
        let _turn = turn;
        found.write(out)
    });
    Ok(crate::answer::with_type(StatusCode::OK, JSON, body))
}

/// Which lists `tables` names; without it, all.
fn asked(layout: Layout, query: &Form) -> Result<[bool; 3], Error> {
    let Some(names) = query.value("tables").filter(|_| layout == Layout::Server) else {
        return Ok([true; 3]);
    };
    let mut asked = [false; 3];
    for name in names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let reason = "`tables` is a list of `services`, `skills` and `contexts`";
        let position = layout.position(name);
        asked[position.context(MalformedSnafu { reason })?] = true;
    }
    Ok(asked)
}

impl Export {
    fn find(
        layout: Layout,
        nodes: RepositoryNodes,
        root: Digest,
        asked: [bool; 3],
        time: String,
    ) -> Result<Self, Error> {
        let mut tables = [None, None, None];
        for (index, collection) in layout.collections().iter().enumerate() {
            if asked[index] {
                tables[index] = Table::find(&nodes, root, collection)?;
            }
        }
        let owners = match &tables {
            [Some(agents), Some(skills), _] if agent_of(skills).is_some() => {
                owners(agents, &nodes)?
            }
            _ => HashMap::new(),
        };
        Ok(Self {
            layout,
            nodes,
            tables,
            owners,
            time,
        })
    }

    fn write(&self, out: &mut Outgoing) -> io::Result<()> {
        let mut counts = Object::new();
        out.write_all(b"{")?;
        for (collection, table) in self.layout.collections().iter().zip(&self.tables) {
            write!(out, "\"{}\":[", collection.name)?;
            let count = match table {
                Some(table) => self.write_rows(table, out)?,
                None => 0,
            };
            out.write_all(b"],")?;
            counts.insert(collection.name.to_owned(), json!(count));
        }
        if self.layout == Layout::Server {
            write!(out, "\"record_counts\":{},", json!(counts))?;
        }
        write!(out, "\"{}\":\"{}\"}}", self.layout.timestamp(), self.time)
    }

    fn write_rows(&self, table: &Table, out: &mut Outgoing) -> io::Result<u64> {
        let mut count = 0;
        for entry in map::iter(&self.nodes, table.entry.rows.root) {
            let (_, value) = entry.map_err(io::Error::other)?;
            let item = self.item(table, &value).map_err(io::Error::other)?;
            if count > 0 {
                out.write_all(b",")?;
            }
            serde_json::to_writer(&mut *out, &Item(table.collection, &item))?;
            count += 1;
        }
        Ok(count)
    }

    fn item(&self, table: &Table, value: &bytes::Bytes) -> Result<Record<'static>, Error> {
        let row = table.row(value, &self.nodes)?;
        let mut bare = table.bare(&row, &self.nodes)?;
        if let (Some(member), Value::Uuid(skill)) = (agent_of(table), &bare[0])
            && let Some(agent) = self.owners.get(skill)
        {
            bare[member] = Value::Uuid(*agent);
        }
        Ok(table.item(&row, bare))
    }
}

/// The member for a skill's agent, where its table has no column for that.
fn agent_of(skills: &Table) -> Option<usize> {
    let member = skills.collection.member("agent_id")?;
    skills.column(member).is_none().then_some(member)
}

/// By skill the first agent that lists it in its column `skills`.
fn owners(agents: &Table, nodes: &RepositoryNodes) -> Result<HashMap<[u8; 16], [u8; 16]>, Error> {
    let mut owners = HashMap::new();
    for entry in map::iter(nodes, agents.entry.rows.root) {
        let (_, value) = entry.map_err(map_error)?;
        let row = agents.row(&value, nodes)?;
        let listed = match row.get("skills") {
            Some(Cell::Inline(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Cell::Stored(content)) => {
                let bytes = load_content(&content, nodes).map_err(|e| agents.unreadable(e))?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            None => continue,
        };
        if let Value::Uuid(agent) = agents.value(0, &row, nodes)? {
            for skill in texts(&listed).into_iter().flatten() {
                owners.entry(as_uuid(&skill)).or_insert(agent);
            }
        }
    }
    Ok(owners)
}
