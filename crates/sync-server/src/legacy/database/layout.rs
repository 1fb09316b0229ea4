//! The two layouts of the JSON: which lists there are, what their items have, and which tables hold them.

/// Whose JSON it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::legacy) enum Layout {
    /// Of relay routes: `agents`, `skills`, `contexts`, with UUIDs.
    Cloud,
    /// Of direct routes: `services`, `skills`, `contexts`, with ids of any text.
    Server,
}

/// What a member of an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Uuid,
    Text,
    Bool,
    Int,
    Texts,
    Time,
}

/// A member of an item.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) r#type: Type,
    /// Whether an import has to have it.
    pub(super) is_needed: bool,
    /// Whether an export may say `null`.
    pub(super) is_nullable: bool,
}

/// A list of items, which is a table's rows. The first member says which row is meant.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) name: &'static str,
    /// What else it is called.
    pub(super) alias: Option<&'static str>,
    /// The tables that may hold it: the first that is there does. Where none is, the first is made.
    pub(super) tables: [&'static str; 2],
    /// Whether the first member is the primary key, whatever that is called; else it is the column of its name.
    pub(super) by_key: bool,
    pub(super) members: &'static [Member],
}

const fn needed(name: &'static str, r#type: Type) -> Member {
    Member {
        name,
        r#type,
        is_needed: true,
        is_nullable: false,
    }
}

/// An import may leave it out; an export has it.
const fn usual(name: &'static str, r#type: Type) -> Member {
    Member {
        is_needed: false,
        ..needed(name, r#type)
    }
}

const fn nullable(name: &'static str, r#type: Type) -> Member {
    Member {
        is_nullable: true,
        ..usual(name, r#type)
    }
}

const CREATED: Member = needed("created_at", Type::Time);
const UPDATED: Member = needed("updated_at", Type::Time);

static CLOUD: [Collection; 3] = [
    Collection {
        name: "agents",
        alias: None,
        tables: ["agents", "agents"],
        by_key: true,
        members: &[
            needed("id", Type::Uuid),
            needed("name", Type::Text),
            nullable("system_prompt", Type::Text),
            CREATED,
            UPDATED,
        ],
    },
    Collection {
        name: "skills",
        alias: None,
        tables: ["skills", "agent_skills"],
        by_key: true,
        members: &[
            needed("id", Type::Uuid),
            needed("agent_id", Type::Uuid),
            needed("name", Type::Text),
            nullable("description", Type::Text),
            CREATED,
            UPDATED,
        ],
    },
    Collection {
        name: "contexts",
        alias: None,
        tables: ["contexts", "user_contexts"],
        by_key: true,
        members: &[
            needed("id", Type::Uuid),
            needed("name", Type::Text),
            nullable("description", Type::Text),
            CREATED,
            UPDATED,
        ],
    },
];

static SERVER: [Collection; 3] = [
    Collection {
        name: "services",
        alias: Some("agents"),
        tables: ["services", "agents"],
        by_key: false,
        members: &[
            needed("name", Type::Text),
            usual("module_name", Type::Text),
            usual("status", Type::Text),
            usual("port", Type::Int),
            CREATED,
            UPDATED,
        ],
    },
    Collection {
        name: "skills",
        alias: None,
        tables: ["agent_skills", "skills"],
        by_key: true,
        members: &[
            needed("skill_id", Type::Text),
            usual("file_path", Type::Text),
            needed("name", Type::Text),
            usual("description", Type::Text),
            usual("instructions", Type::Text),
            usual("enabled", Type::Bool),
            nullable("tags", Type::Texts),
            nullable("category_id", Type::Text),
            usual("source_id", Type::Text),
            CREATED,
            UPDATED,
        ],
    },
    Collection {
        name: "contexts",
        alias: None,
        tables: ["user_contexts", "contexts"],
        by_key: true,
        members: &[
            needed("context_id", Type::Text),
            usual("user_id", Type::Text),
            nullable("session_id", Type::Text),
            needed("name", Type::Text),
            CREATED,
            UPDATED,
        ],
    },
];

impl Layout {
    /// Its lists. A list's tables do not hold another one.
    pub(super) fn collections(self) -> &'static [Collection; 3] {
        match self {
            Self::Cloud => &CLOUD,
            Self::Server => &SERVER,
        }
    }

    /// The list of this name.
    pub(super) fn position(self, name: &str) -> Option<usize> {
        let named = |c: &Collection| c.name == name || c.alias == Some(name);
        self.collections().iter().position(named)
    }

    /// When it was exported.
    pub(super) const fn timestamp(self) -> &'static str {
        match self {
            Self::Cloud => "timestamp",
            Self::Server => "exported_at",
        }
    }
}

impl Collection {
    /// The place of a member.
    pub(super) fn member(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.name == name)
    }
}
