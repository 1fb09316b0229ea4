//! The SQL of skills.

use crate::kind::Statements;

/// What is written, by name.
pub(super) const COLUMNS: &str = "key text, skill_id text, file_path text, name text, description text, enabled bool, \
    tags text[], category text, instructions text";

/// The source of skills, unless the configuration gives them another one.
pub(super) const SOURCE: &str = "skills";

/// All skills; those of sources that are not ours have an owner.
pub(super) fn query(ours: &[String]) -> String {
    let ours = serde_json::json!(ours).to_string().replace('\'', "''");
    QUERY.replace("{ours}", &ours)
}

const QUERY: &str = "SELECT m.skill_id AS key, m.tableoid || ':' || m.xmin || ':' || m.ctid AS mark, \
    CASE WHEN m.source_id NOT IN (SELECT json_array_elements_text('{ours}'::json)) \
        THEN 'skill source `' || m.source_id || '`' END AS owner, false AS made, \
    json_build_object('name', m.name, 'description', m.description, 'enabled', m.enabled, 'tags', m.tags, \
        'category', m.category_id, 'instructions', m.instructions) AS value \
    FROM public.agent_skills m {join}";

/// No two rows may have one path. Whatever else has that of a skill that is written is a skill that moves in another batch,
/// or one whose file is gone: its path is not true any more. Only rows that are, or were, ours are touched.
const ASIDE: &str = "UPDATE public.agent_skills m SET file_path = 'sync:moving:' || m.skill_id FROM r \
    WHERE m.file_path = r.file_path AND m.skill_id <> r.skill_id AND (m.source_id = 'skills' OR EXISTS \
    (SELECT FROM sync.local_item i WHERE i.kind = 'skill' AND i.key = m.skill_id))";

const TAKEN: &str = "SELECT r.key, r.file_path, 'skill `' || m.skill_id || '` of source `' || m.source_id || '`' \
    FROM r JOIN public.agent_skills m ON m.file_path = r.file_path AND m.skill_id <> r.skill_id ORDER BY r.key LIMIT 1";

pub(super) const STATEMENTS: Statements = Statements {
    lock: &[
        "SELECT m.skill_id FROM public.agent_skills m JOIN k ON k.skill_id = m.skill_id ORDER BY m.skill_id FOR UPDATE OF m",
    ],
    insert: &[
        "INSERT INTO public.agent_skills (skill_id, file_path, name, description, instructions, enabled, tags, category_id, \
        source_id, created_at, updated_at) \
        SELECT r.skill_id, r.file_path, r.name, r.description, r.instructions, r.enabled, r.tags, r.category, 'skills', \
        $2::timestamptz, $2::timestamptz FROM r ON CONFLICT (skill_id) DO NOTHING",
    ],
    update: &[
        "UPDATE public.agent_skills m SET file_path = r.file_path, name = r.name, description = r.description, \
        instructions = r.instructions, enabled = r.enabled, tags = r.tags, category_id = r.category, \
        updated_at = $2::timestamptz FROM r WHERE m.skill_id = r.skill_id",
    ],
    delete: &["DELETE FROM public.agent_skills m USING r WHERE m.skill_id = r.skill_id"],
    aside: &[ASIDE],
    taken: Some(TAKEN),
};
