//! Trees of pages, skills and rules from a seed, in many of the ways in which people write them.

use std::fmt::Write as _;

use super::desk::{Desk, SOURCES};
use crate::noise::Random;

/// How many files of each kind there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) pages: usize,
    pub(super) skills: usize,
    pub(super) entities: usize,
}

/// Writes a tree.
pub(super) fn write(desk: &Desk<'_>, seed: u64, size: Size) {
    let mut random = Random::new(seed);
    desk.write("content/config.yaml", SOURCES);
    for number in 0..size.pages {
        let (path, text) = page(&mut random, number);
        desk.write(&path, &text);
    }
    for number in 0..size.skills {
        skill(desk, &mut random, number);
    }
    for kind in ["agent", "skill"] {
        let text = rules(&mut random, kind, size.entities);
        desk.write(&format!("access-control/{kind}.yaml"), &text);
    }
}

fn pick<'t>(random: &mut Random, from: &[&'t str]) -> &'t str {
    from[random.below(from.len())]
}

/// A value of one line in one of the styles of YAML.
fn scalar(random: &mut Random) -> &'static str {
    pick(
        random,
        &[
            "plain words",
            "'single ''quoted'''",
            "\"double \\\"quoted\\\" \\u00e9\"",
            "naïve café",
            "'# no comment'",
            "a: b",
        ][..5],
    )
}

/// Paragraphs, code, and lines that look like the end of front matter.
fn body(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(6) {
        text.push_str(pick(
            random,
            &[
                "A paragraph.\n\n",
                "---\n",
                "```yaml\n---\nkey: value\n---\n```\n",
                "    code\n",
                "- a list\n- é\n",
                "|a|table|\n|---|---|\n",
            ],
        ));
    }
    text
}

fn page(random: &mut Random, number: usize) -> (String, String) {
    let slug = if number.is_multiple_of(3) {
        format!("guides/page-{number}")
    } else {
        format!("page-{number}")
    };
    let mut lines = vec![
        format!("title: {}", scalar(random)),
        format!("slug: {slug}"),
        format!("kind: {}", pick(random, &["article", "'guide'"])),
        format!("author: {}", scalar(random)),
        format!(
            "published_at: 2026-0{}-1{}",
            1 + random.below(9),
            random.below(10)
        ),
    ];
    for extra in [
        format!("description: {}", scalar(random)),
        "tags: [a, 'b', \"c\"]   # three".to_owned(),
        "category: product".to_owned(),
        "links:\n  # where\n  - title: T\n    url: https://x\n  - {title: U, url: v}".to_owned(),
        "keywords: one, two".to_owned(),
        "unknown:\n    deep: [1, 2.50, {a: b}]".to_owned(),
        "# a comment\n".to_owned(),
        "public:   false".to_owned(),
        "image: i.png".to_owned(),
    ] {
        if random.below(2) == 0 {
            let at = random.below(lines.len() + 1);
            lines.insert(at, extra);
        }
    }
    let mut text = String::new();
    if random.below(8) == 0 {
        text.push('\u{feff}');
    }
    let fence = pick(random, &["---", "--- "]);
    let _ = write!(text, "{fence}\n{}\n---\n", lines.join("\n"));
    text.push_str(pick(random, &["", "\n", "\n\n"]));
    text.push_str(&body(random));
    text.push_str(pick(random, &["", "the end", "the end\n", "\n\n"]));
    if random.below(5) == 0 {
        text = text.replace('\n', "\r\n");
    }
    let path = match random.below(3) {
        0 => format!("content/blog/{slug}/index.md"),
        1 => format!("content/blog/moved/{number}.md"),
        _ => format!("content/blog/{slug}.md"),
    };
    (path, text)
}

fn skill(desk: &Desk<'_>, random: &mut Random, number: usize) {
    let dir = format!("skills/skill_{number}");
    let name = scalar(random);
    let body = body(random);
    match number % 3 {
        0 => {
            desk.write(
                &format!("{dir}/config.yaml"),
                &format!(
                    "# of one skill\nname: {name}\ndescription: {}\ntags: [x]\nlicense: MIT\n",
                    scalar(random)
                ),
            );
            desk.write(
                &format!("{dir}/index.md"),
                &format!("Begin.\n\n{body}\nthe end"),
            );
        }
        1 => desk.write(
            &format!("{dir}/SKILL.md"),
            &format!(
                "---\nname: {name}\ndescription: {}\nmetadata:\n  a: 1\n---\n{body}\n",
                scalar(random)
            ),
        ),
        _ => desk.write(
            &format!("{dir}/index.md"),
            &format!(
                "---\ntitle: {name}\nslug: s\ndescription: {}\nkeywords: a, b\n---\n\n{body}",
                scalar(random)
            ),
        ),
    }
    if random.below(2) == 0 {
        desk.write(&format!("{dir}/scripts/run.sh"), "#!/bin/sh\n");
    }
}

fn rules(random: &mut Random, kind: &str, entities: usize) -> String {
    let mut text = "# who may use what\nrules:\n".to_owned();
    for number in 0..entities {
        let access = pick(random, &["allow", "deny"]);
        let roles = pick(
            random,
            &["[admin]", "[admin, 'support']", "\n      - a\n      - b"],
        );
        let _ = write!(
            text,
            "  - entity_type: {kind}\n    entity_id: e-{number}\n    access: {access}   # as agreed\n    roles: {roles}\n"
        );
        if random.below(3) == 0 {
            let _ = writeln!(text, "    justification: {}", scalar(random));
        }
    }
    text
}
