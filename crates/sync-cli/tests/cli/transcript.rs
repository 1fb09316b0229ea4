//! What people are told, as far as it is the same each time.

use std::path::Path;

pub(super) fn unindented(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let indent = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min();
    lines
        .iter()
        .map(|line| line.get(indent.unwrap_or(0)..).unwrap_or("").to_owned() + "\n")
        .collect()
}

/// Replaces ids, times, sizes on the wire and durations, which differ from run to run.
pub(super) fn settled(text: &str, dir: &Path) -> String {
    let text = text.replace(&dir.display().to_string(), "DIR");
    let settle = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let hex = |len: usize| bare.len() == len && bare.bytes().all(|b| b.is_ascii_hexdigit());
        if (hex(7) || hex(64)) && bare.bytes().any(|b| b.is_ascii_digit()) {
            return word.replace(bare, "ID");
        }
        word.to_owned()
    };
    let mut out = String::new();
    for line in text.lines() {
        let mut line = line.split(' ').map(settle).collect::<Vec<_>>().join(" ");
        // What went over the wire and how long it took stand after the summary of a `files` line.
        if let Some((summary, rest)) = line.split_at_checked(10)
            && summary == "files     "
            && rest.contains("request")
        {
            let summary = rest.split("    ").next().unwrap_or_default();
            line = format!("files     {summary}");
        }
        if let Some(at) = line.find(" 20") {
            let moment = line
                .get(at + 1..at + 20)
                .filter(|m| m.contains(':') && m.contains('-'))
                .map(ToOwned::to_owned);
            line = moment.map_or(line.clone(), |moment| line.replace(&moment, "TIME"));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
