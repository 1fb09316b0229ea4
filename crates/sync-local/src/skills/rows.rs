//! The SQL of skills.

use crate::kind::Statements;

/// What is written, by name.
pub(super) const COLUMNS: &str = "key text, skill_id text, file_path text, name text, description text, enabled bool, \
    tags text[], category text, instructions text";

/// All skills.
pub(super) const QUERY: &str = "SELECT m.skill_id AS key, m.tableoid || ':' || m.xmin || ':' || m.ctid AS mark, \
    NULL::text AS owner, false AS made, \
    json_build_object('name', m.name, 'description', m.description, 'enabled', m.enabled, 'tags', m.tags, \
        'category', m.category_id, 'instructions', m.instructions) AS value \
    FROM public.agent_skills m {join}";

/// Two skills may exchange their files: paths that change step aside first, so that no two are ever the same.
const ASIDE: &str = "UPDATE public.agent_skills m SET file_path = \
    CASE WHEN m.file_path = r.file_path THEN m.file_path ELSE 'sync:moving:' || m.skill_id END FROM r \
    WHERE m.skill_id = r.skill_id";

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
        ASIDE,
        "UPDATE public.agent_skills m SET file_path = r.file_path, name = r.name, description = r.description, \
        instructions = r.instructions, enabled = r.enabled, tags = r.tags, category_id = r.category, \
        updated_at = $2::timestamptz FROM r WHERE m.skill_id = r.skill_id",
    ],
    delete: &["DELETE FROM public.agent_skills m USING r WHERE m.skill_id = r.skill_id"],
};
