//! The SQL of access control. Rules of single users are read by nothing here and written by nothing.

use serde_json::json;

use crate::kind::Statements;

/// What is written, by name.
pub(super) const COLUMNS: &str =
    "key text, entity_type text, entity_id text, default_included bool, rules json";

/// What `source` of an entity says that was made here.
macro_rules! source {
    () => {
        "sync"
    };
}

/// All entities of these types that have a rule of a role, or are included by default.
pub(super) fn query(types: &[&str]) -> String {
    let types = json!(types).to_string();
    format!(
        "SELECT m.entity_type || '/' || m.entity_id AS key, \
        m.tableoid || ':' || m.xmin || ':' || m.ctid || COALESCE(u.marks, '') AS mark, \
        NULL::text AS owner, m.source = '{}' AS made, \
        json_build_object('default_included', m.default_included, 'rules', u.rules) AS value \
        FROM public.access_control_entities m {{join}} \
        LEFT JOIN LATERAL (SELECT \
            json_agg(json_build_object('role', rule_value, 'access', access, 'justification', justification) \
                ORDER BY rule_value COLLATE \"C\") AS rules, \
            string_agg('/' || w.xmin || ':' || w.ctid, '' ORDER BY rule_value COLLATE \"C\") AS marks \
            FROM public.access_control_rules w \
            WHERE w.entity_type = m.entity_type AND w.entity_id = m.entity_id AND w.rule_type = 'role') u ON true \
        WHERE m.entity_type IN (SELECT json_array_elements_text('{types}'::json)) \
            AND (m.default_included OR u.rules IS NOT NULL)",
        source!()
    )
}

const REMOVE_RULES: &str = "DELETE FROM public.access_control_rules u USING r \
    WHERE u.entity_type = r.entity_type AND u.entity_id = r.entity_id AND u.rule_type = 'role' \
    AND NOT EXISTS (SELECT FROM json_array_elements(r.rules) w WHERE w.value->>'role' = u.rule_value)";

const CHANGE_RULES: &str = "UPDATE public.access_control_rules u SET access = w.value->>'access', \
    justification = w.value->>'justification', updated_at = $2::timestamptz \
    FROM r, json_array_elements(r.rules) w \
    WHERE u.entity_type = r.entity_type AND u.entity_id = r.entity_id AND u.rule_type = 'role' \
    AND u.rule_value = w.value->>'role' \
    AND (u.access, u.justification) IS DISTINCT FROM (w.value->>'access', w.value->>'justification')";

const ADD_RULES: &str = "INSERT INTO public.access_control_rules \
    (id, entity_type, entity_id, rule_type, rule_value, access, justification, created_at, updated_at) \
    SELECT w.value->>'id', r.entity_type, r.entity_id, 'role', w.value->>'role', w.value->>'access', \
    w.value->>'justification', $2::timestamptz, $2::timestamptz FROM r, json_array_elements(r.rules) w \
    ON CONFLICT (entity_type, entity_id, rule_type, rule_value) DO NOTHING";

/// An entity that only users have rules on, or that another system has registered, is there without being an item: it
/// becomes one, and stays whose it is.
const ADD_ENTITY: &str = concat!(
    "INSERT INTO public.access_control_entities AS m (entity_type, entity_id, default_included, source, created_at, updated_at) \
    SELECT r.entity_type, r.entity_id, r.default_included, '",
    source!(),
    "', $2::timestamptz, $2::timestamptz FROM r ON CONFLICT (entity_type, entity_id) DO UPDATE \
    SET default_included = excluded.default_included, updated_at = excluded.updated_at"
);

const CHANGE_ENTITY: &str = "UPDATE public.access_control_entities m SET default_included = r.default_included, \
    updated_at = CASE WHEN m.default_included = r.default_included THEN m.updated_at ELSE $2::timestamptz END FROM r \
    WHERE m.entity_type = r.entity_type AND m.entity_id = r.entity_id";

/// Whatever becomes of it: nobody is included any more because of us.
const LEAVE_ENTITY: &str = "UPDATE public.access_control_entities m SET default_included = false, \
    updated_at = $2::timestamptz FROM r WHERE m.entity_type = r.entity_type AND m.entity_id = r.entity_id";

/// One that another system has registered stays.
const REMOVE_ENTITY: &str = concat!(
    "DELETE FROM public.access_control_entities m USING r \
    WHERE m.entity_type = r.entity_type AND m.entity_id = r.entity_id AND m.source = '",
    source!(),
    "' AND NOT EXISTS \
    (SELECT FROM public.access_control_rules u WHERE u.entity_type = m.entity_type AND u.entity_id = m.entity_id)"
);

/// One that users have rules on stays for them, and is no longer ours.
const DISOWN_ENTITY: &str = concat!(
    "UPDATE public.access_control_entities m SET source = '' FROM r \
    WHERE m.entity_type = r.entity_type AND m.entity_id = r.entity_id AND m.source = '",
    source!(),
    "'"
);

const REMOVE_ALL_RULES: &str = "DELETE FROM public.access_control_rules u USING r \
    WHERE u.entity_type = r.entity_type AND u.entity_id = r.entity_id AND u.rule_type = 'role'";

pub(super) const STATEMENTS: Statements = Statements {
    lock: &[
        "SELECT m.entity_id FROM public.access_control_entities m \
        JOIN k ON k.entity_type = m.entity_type AND k.entity_id = m.entity_id \
        ORDER BY m.entity_type, m.entity_id FOR UPDATE OF m",
        "SELECT m.id FROM public.access_control_rules m \
        JOIN k ON k.entity_type = m.entity_type AND k.entity_id = m.entity_id \
        WHERE m.rule_type = 'role' ORDER BY m.id FOR UPDATE OF m",
    ],
    insert: &[ADD_ENTITY, REMOVE_RULES, CHANGE_RULES, ADD_RULES],
    update: &[CHANGE_ENTITY, REMOVE_RULES, CHANGE_RULES, ADD_RULES],
    delete: &[LEAVE_ENTITY, REMOVE_ALL_RULES, REMOVE_ENTITY, DISOWN_ENTITY],
    aside: &[],
    taken: None,
};
