CREATE TABLE IF NOT EXISTS public.agents (
    agent_id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    display_name text NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    version text NOT NULL DEFAULT '1.0.0',
    system_prompt text,
    enabled bool NOT NULL DEFAULT true,
    port int,
    endpoint text NOT NULL DEFAULT '',
    dev_only bool NOT NULL DEFAULT false,
    is_primary bool NOT NULL DEFAULT false,
    is_default bool NOT NULL DEFAULT false,
    tags text[],
    category_id text,
    source_id text NOT NULL DEFAULT '',
    provider text,
    model text,
    mcp_servers text[],
    skills text[],
    card_json jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.agent_skills (
    skill_id text PRIMARY KEY,
    file_path text NOT NULL UNIQUE,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    instructions text NOT NULL,
    enabled bool NOT NULL DEFAULT true,
    tags text[],
    category_id text,
    source_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.users (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    email text NOT NULL UNIQUE,
    full_name text,
    display_name text,
    status text NOT NULL DEFAULT 'active',
    email_verified bool NOT NULL DEFAULT false,
    roles text[] NOT NULL DEFAULT '{}',
    is_bot bool NOT NULL DEFAULT false,
    is_scanner bool NOT NULL DEFAULT false,
    avatar_url text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.user_contexts (
    context_id text PRIMARY KEY,
    user_id text NOT NULL REFERENCES public.users (id) ON DELETE CASCADE,
    session_id text,
    name text NOT NULL DEFAULT '',
    kind text NOT NULL DEFAULT 'user',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.markdown_content (
    id text PRIMARY KEY,
    slug text NOT NULL,
    locale text NOT NULL DEFAULT 'en',
    title text NOT NULL,
    description text NOT NULL DEFAULT '',
    body text NOT NULL,
    author text NOT NULL,
    published_at timestamptz NOT NULL,
    keywords text NOT NULL DEFAULT '',
    kind text NOT NULL,
    image text,
    category_id text,
    source_id text NOT NULL,
    version_hash text NOT NULL,
    public bool NOT NULL DEFAULT true,
    links jsonb NOT NULL DEFAULT '[]',
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (slug, locale)
);

CREATE TABLE IF NOT EXISTS public.access_control_entities (
    entity_type text NOT NULL,
    entity_id text NOT NULL,
    default_included bool NOT NULL DEFAULT false,
    source text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (entity_type, entity_id)
);

CREATE TABLE IF NOT EXISTS public.access_control_rules (
    id text PRIMARY KEY,
    entity_type text NOT NULL,
    entity_id text NOT NULL,
    rule_type text NOT NULL,
    rule_value text NOT NULL,
    access text NOT NULL CHECK (access IN ('allow', 'deny')),
    justification text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (entity_type, entity_id, rule_type, rule_value),
    FOREIGN KEY (entity_type, entity_id)
        REFERENCES public.access_control_entities (entity_type, entity_id) ON DELETE CASCADE
);
