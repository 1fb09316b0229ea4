//! Medians as tables, and the document that keeps them.

use std::{fmt::Write as _, fs, process::Command, time::Duration};

use snafu::{OptionExt as _, ResultExt as _};

use super::{
    corpus::Operation,
    distance::ROUND_TRIP,
    meter::{End, Sample},
    volume::Volume,
};
use crate::{
    error::{IoSnafu, Result, UnexpectedSnafu},
    repository,
};

/// Between these lines of the document stands what the last run of a corpus, or of the rows, found.
fn markers(section: &str) -> (String, String) {
    (
        format!("<!-- begin: {section} -->"),
        format!("<!-- end: {section} -->"),
    )
}

/// One measurement.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) corpus: &'static str,
    pub(super) operation: Operation,
    pub(super) contender: &'static str,
    pub(super) sample: Sample,
}

/// The best that was measured of any peer on a machine of this kind: seconds, who, and the fewest bytes, who.
struct Bar {
    corpus: &'static str,
    operation: Operation,
    seconds: f64,
    fastest: &'static str,
    bytes: Option<(u64, &'static str)>,
}

/// From the survey that the design starts from: no TLS, and only git and restic durable.
const BARS: [Bar; 10] = [
    bar(
        "A",
        Operation::First,
        0.47,
        "tar + zstd",
        Some((14_200_000, "tar + zstd")),
    ),
    bar("A", Operation::Nothing, 0.03, "git", Some((1_000, "git"))),
    bar(
        "A",
        Operation::OneFile,
        0.09,
        "unison",
        Some((2_000, "git")),
    ),
    bar(
        "A",
        Operation::OnePercent,
        0.15,
        "unison",
        Some((27_000, "git")),
    ),
    bar(
        "B",
        Operation::First,
        3.4,
        "tar + zstd",
        Some((37_000_000, "tar + zstd")),
    ),
    bar("B", Operation::Nothing, 0.22, "git", Some((1_000, "git"))),
    bar("B", Operation::OneFile, 0.45, "git", Some((2_000, "git"))),
    bar(
        "B",
        Operation::OnePercent,
        0.99,
        "rsync",
        Some((831_000, "git")),
    ),
    bar("C", Operation::First, 4.9, "tar + zstd", None),
    bar(
        "C",
        Operation::OneFile,
        f64::NAN,
        "",
        Some((49_000, "rsync")),
    ),
];

const fn bar(
    corpus: &'static str,
    operation: Operation,
    seconds: f64,
    fastest: &'static str,
    bytes: Option<(u64, &'static str)>,
) -> Bar {
    Bar {
        corpus,
        operation,
        seconds,
        fastest,
        bytes,
    }
}

/// What was found of a corpus, as Markdown.
pub(super) fn text(all: &[Measured], volume: &Volume, how: &str) -> String {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    line(format!(
        "Measured on {} by `cargo xtask bench files{how}`.",
        said("date", &["-u", "+%F"]),
    ));
    line(format!("Machine: {}.", machine()));
    line(format!("Disk: {}.", volume.description()));
    line(format!("Tools: {}.", versions()));
    line(String::new());
    table(all, &mut line);
    if all.iter().any(|measured| measured.contender == "ours") {
        line(String::new());
        line(
            "Ours beside each peer of the same run (below 1: ours is better), and beside the bar."
                .into(),
        );
        line(String::new());
        ratios(all, &mut line);
    }
    from_afar(all, &mut line);
    text
}

fn table(all: &[Measured], line: &mut impl FnMut(String)) {
    line("| corpus | operation | tool | wall s | CPU client s | CPU server s | bytes sent | bytes received | peak client MiB | peak server MiB |".into());
    line("|---|---|---|---:|---:|---:|---:|---:|---:|---:|".into());
    for (corpus, operation) in cases(all) {
        for contender in contenders(all) {
            let Some(of) = Median::of(all, corpus, operation, contender) else {
                continue;
            };
            let (sent, received) = match (of.passed, of.stored) {
                (Some((sent, received)), _) => (grouped(sent), grouped(received)),
                (None, Some(stored)) if operation != Operation::Pull => {
                    (format!("({})", grouped(stored)), "-".into())
                }
                _ => ("-".into(), "-".into()),
            };
            line(format!(
                "| {corpus} | {} | {contender} | {} | {} | {} | {sent} | {received} | {} | {} |",
                operation.name(),
                seconds(of.wall),
                seconds(of.client.cpu),
                of.server.map_or_else(|| "-".into(), |end| seconds(end.cpu)),
                mebibytes(of.client.peak_bytes),
                of.server
                    .map_or_else(|| "-".into(), |end| mebibytes(end.peak_bytes)),
            ));
        }
    }
}

fn ratios(all: &[Measured], line: &mut impl FnMut(String)) {
    let peers: Vec<&str> = contenders(all)
        .into_iter()
        .filter(|name| *name != "ours")
        .collect();
    let names = peers.join(" | ");
    line(format!(
        "| corpus | operation | ours s | wall: {names} | bar s | ours bytes | bytes: {names} | bar bytes |"
    ));
    line(format!(
        "|---|---|---:|{}---:|---:|{}---:|",
        "---:|".repeat(peers.len()),
        "---:|".repeat(peers.len())
    ));
    for (corpus, operation) in cases(all) {
        let Some(ours) = Median::of(all, corpus, operation, "ours") else {
            continue;
        };
        let mut row = format!(
            "| {corpus} | {} | {} |",
            operation.name(),
            seconds(ours.wall)
        );
        let medians: Vec<Option<Median>> = peers
            .iter()
            .map(|peer| Median::of(all, corpus, operation, peer))
            .collect();
        for median in &medians {
            let ratio = median
                .as_ref()
                .map(|median| ours.wall.as_secs_f64() / median.wall.as_secs_f64());
            row.push_str(&cell(ratio.map(|ratio| format!("{ratio:.2}"))));
        }
        let bar = BARS
            .iter()
            .find(|bar| bar.corpus == corpus && bar.operation == operation);
        row.push_str(&cell(
            bar.filter(|bar| bar.seconds.is_finite())
                .map(|bar| format!("{} ({})", bar.seconds, bar.fastest)),
        ));
        let bytes = ours.bytes();
        row.push_str(&cell(bytes.map(grouped)));
        for median in &medians {
            let ratio = median
                .as_ref()
                .and_then(Median::bytes)
                .zip(bytes)
                .map(|(peer, ours)| as_f64(ours) / as_f64(peer.max(1)));
            row.push_str(&cell(ratio.map(|ratio| format!("{ratio:.2}"))));
        }
        row.push_str(&cell(
            bar.and_then(|bar| bar.bytes)
                .map(|(bytes, who)| format!("{} ({who})", grouped(bytes))),
        ));
        line(row);
    }
}

/// How many round trips a no-op takes: all of its time, and what the distance adds to that of one next door.
fn from_afar(all: &[Measured], line: &mut impl FnMut(String)) {
    for (corpus, operation) in cases(all) {
        if operation != Operation::Distant {
            continue;
        }
        line(String::new());
        line(format!(
            "| corpus | tool | no-op, {} ms: wall s | in round trips | more than next door, in round trips |",
            ROUND_TRIP.as_millis()
        ));
        line("|---|---|---:|---:|---:|".into());
        for contender in contenders(all) {
            let median = |operation| Median::of(all, corpus, operation, contender);
            let Some((far, near)) = median(operation).zip(median(Operation::Nothing)) else {
                continue;
            };
            let trips = |time: Duration| time.as_secs_f64() / ROUND_TRIP.as_secs_f64();
            line(format!(
                "| {corpus} | {contender} | {} | {:.1} | {:.1} |",
                seconds(far.wall),
                trips(far.wall),
                trips(far.wall.saturating_sub(near.wall))
            ));
        }
    }
}

/// One cell of a row, with the bar that ends it.
fn cell(content: Option<String>) -> String {
    let mut text = content.unwrap_or_else(|| "-".to_owned());
    text.insert(0, ' ');
    text.push_str(" |");
    text
}

/// The median of each quantity by itself.
struct Median {
    wall: Duration,
    client: End,
    server: Option<End>,
    passed: Option<(u64, u64)>,
    stored: Option<u64>,
}

impl Median {
    fn of(all: &[Measured], corpus: &str, operation: Operation, contender: &str) -> Option<Self> {
        let samples: Vec<&Sample> = all
            .iter()
            .filter(|measured| {
                measured.corpus == corpus
                    && measured.operation == operation
                    && measured.contender == contender
            })
            .map(|measured| &measured.sample)
            .collect();
        let servers: Vec<End> = samples.iter().filter_map(|sample| sample.server).collect();
        Some(Self {
            wall: median(samples.iter().map(|sample| sample.wall))?,
            client: median_end(samples.iter().map(|sample| sample.client))?,
            server: median_end(servers.iter().copied()),
            passed: median(
                samples
                    .iter()
                    .filter_map(|sample| Some(sample.passed?.sent)),
            )
            .zip(median(
                samples
                    .iter()
                    .filter_map(|sample| Some(sample.passed?.received)),
            )),
            stored: median(samples.iter().filter_map(|sample| sample.stored)),
        })
    }

    /// What went over the wire, or was stored where there is none.
    fn bytes(&self) -> Option<u64> {
        self.passed
            .map(|(sent, received)| sent + received)
            .or(self.stored.filter(|stored| *stored > 0))
    }
}

fn median_end(ends: impl Iterator<Item = End> + Clone) -> Option<End> {
    Some(End {
        cpu: median(ends.clone().map(|end| end.cpu))?,
        peak_bytes: median(ends.map(|end| end.peak_bytes))?,
    })
}

/// The middle one; the lower one of two.
pub(super) fn median<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort();
    let middle = values.len().checked_sub(1)? / 2;
    values.into_iter().nth(middle)
}

/// Corpora with their operations, in the order in which they were run.
fn cases(all: &[Measured]) -> Vec<(&'static str, Operation)> {
    let mut cases: Vec<_> = all
        .iter()
        .map(|measured| (measured.corpus, measured.operation))
        .collect();
    cases.sort_unstable();
    cases.dedup();
    cases
}

fn contenders(all: &[Measured]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for measured in all {
        if !names.contains(&measured.contender) {
            names.push(measured.contender);
        }
    }
    names
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

pub(super) fn mebibytes(bytes: u64) -> String {
    (bytes >> 20).to_string()
}

#[allow(clippy::cast_precision_loss, reason = "ratios have two digits")]
pub(super) fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

/// With a space between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

pub(super) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches(['\t', ':', ' '])
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default();
    format!(
        "{cores} cores of {model}, {} GiB of memory, Linux {}",
        kibibytes >> 20,
        said("uname", &["-r"])
    )
}

fn versions() -> String {
    let mut text = String::new();
    for (program, arguments) in [
        ("rsync", ["--version"].as_slice()),
        ("git", &["--version"]),
        ("restic", &["version"]),
        ("tar", &["--version"]),
        ("zstd", &["--version"]),
    ] {
        let first = said(program, arguments);
        let words: Vec<&str> = first.split_whitespace().collect();
        let version = words
            .iter()
            .map(|word| word.trim_start_matches('v').trim_end_matches(','))
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or("?");
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a text cannot fail.
        let _ = write!(text, "{separator}{program} {version}");
    }
    text
}

/// The first line that a program says.
pub(super) fn said(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_default()
}

/// Puts the text between the markers of a section in docs/benchmarks.md; what was found of others stays.
pub(super) fn write(section: &str, text: &str) -> Result<()> {
    let path = repository::root().join("docs/benchmarks.md");
    let before = fs::read_to_string(&path).context(IoSnafu {
        action: format!("read `{}`", path.display()),
    })?;
    let after = replaced(&before, section, text).context(UnexpectedSnafu {
        what: format!("`{}` has no markers of {section}", path.display()),
    })?;
    fs::write(&path, after).context(IoSnafu {
        action: format!("write `{}`", path.display()),
    })
}

fn replaced(document: &str, section: &str, text: &str) -> Option<String> {
    let (begin, end) = markers(section);
    let (head, rest) = document.split_once(&begin)?;
    let (_, tail) = rest.split_once(&end)?;
    Some(format!("{head}{begin}\n\n{text}\n{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(123_456), "123 456");
    }

    #[test]
    fn the_middle_is_the_median() {
        assert_eq!(median([3, 1, 2].into_iter()), Some(2));
        assert_eq!(median([4, 1].into_iter()), Some(1));
        assert_eq!(median(std::iter::empty::<u8>()), None);
    }

    #[test]
    fn what_is_between_the_markers_is_replaced() {
        let (begin, end) = markers("A");
        let document = format!("before\n{begin}\nold\n{end}\nafter\n");
        let after = replaced(&document, "A", "new\n").unwrap();
        assert_eq!(after, format!("before\n{begin}\n\nnew\n\n{end}\nafter\n"));
        assert_eq!(replaced(&document, "B", "new"), None);
    }

    #[test]
    fn the_document_has_its_markers() {
        let path = repository::root().join("docs/benchmarks.md");
        let document = fs::read_to_string(path).unwrap();
        for corpus in super::super::corpus::ALL {
            let section = format!("corpus {}", corpus.name);
            assert!(replaced(&document, &section, "").is_some());
        }
        assert!(replaced(&document, "rows", "").is_some());
    }
}
