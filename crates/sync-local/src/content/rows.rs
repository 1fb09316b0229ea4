//! The SQL of pages.

use serde_json::json;

use crate::kind::Statements;

/// What is written, by name.
pub(super) const COLUMNS: &str = "key text, slug text, locale text, id text, title text, kind text, author text, \
    published_at timestamptz, description text, keywords text, image text, category text, links jsonb, public bool, \
    source text, body text";

/// All pages; those of sources that are not configured have an owner.
pub(super) fn query(ours: &[&str]) -> String {
    let ours = json!(ours).to_string().replace('\'', "''");
    format!(
        "SELECT CASE WHEN m.locale = 'en' AND position('@' IN m.slug) = 0 THEN m.slug ELSE m.slug || '@' || m.locale END AS key, \
        m.tableoid || ':' || m.xmin || ':' || m.ctid AS mark, \
        CASE WHEN m.source_id IS NULL THEN 'no content source' WHEN m.source_id NOT IN (SELECT json_array_elements_text('{ours}'::json)) \
            THEN 'content source `' || m.source_id || '`' END AS owner, false AS made, \
        json_build_object('title', m.title, 'kind', m.kind, 'author', m.author, 'published_at', m.published_at::text, \
            'description', m.description, 'keywords', m.keywords, 'image', m.image, 'category', m.category_id, \
            'links', m.links, 'public', m.public, 'source', m.source_id, 'body', m.body) AS value \
        FROM public.markdown_content m {{join}}"
    )
}

/// The hash that earlier systems write; nothing here decides by it.
macro_rules! version_hash {
    () => {
        "encode(sha256(convert_to(r.title || r.body || r.description || r.author || \
        to_char(r.published_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' || \
        CASE WHEN r.public THEN 'true' ELSE 'false' END, 'UTF8')), 'hex')"
    };
}

pub(super) const STATEMENTS: Statements = Statements {
    lock: &[
        "SELECT m.id FROM public.markdown_content m JOIN k ON k.slug = m.slug AND k.locale = m.locale \
        ORDER BY m.slug, m.locale FOR UPDATE OF m",
    ],
    insert: &[concat!(
        "INSERT INTO public.markdown_content (id, slug, locale, title, description, body, author, published_at, keywords, \
        kind, image, category_id, source_id, version_hash, public, links, updated_at) \
        SELECT r.id, r.slug, r.locale, r.title, r.description, r.body, r.author, r.published_at, r.keywords, r.kind, r.image, \
        r.category, r.source, ",
        version_hash!(),
        ", r.public, COALESCE(r.links, '[]'), $2::timestamptz FROM r ON CONFLICT (slug, locale) DO NOTHING"
    )],
    update: &[concat!(
        "UPDATE public.markdown_content m SET title = r.title, description = r.description, body = r.body, \
        author = r.author, published_at = r.published_at, keywords = r.keywords, kind = r.kind, image = r.image, \
        category_id = r.category, source_id = r.source, version_hash = ",
        version_hash!(),
        ", public = r.public, links = COALESCE(r.links, '[]'), updated_at = $2::timestamptz FROM r \
        WHERE m.slug = r.slug AND m.locale = r.locale"
    )],
    delete: &[
        "DELETE FROM public.markdown_content m USING r WHERE m.slug = r.slug AND m.locale = r.locale",
    ],
    aside: &[],
    taken: None,
};
