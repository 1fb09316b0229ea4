//! Medians, the bars of the design beside them, and by how much they are missed.

use std::time::Duration;

use super::{
    history::{CHANGED, History},
    place::Ran,
    watching::{Latency, Mode, Sustained, Writers},
};
use crate::bench::{
    meter::{End, Sample},
    report::{as_f64, grouped, machine, mebibytes, median, said, seconds},
};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    First,
    UntrackedNothing,
    UntrackedTen,
    Nothing,
    Thousand,
    ThousandOfFewer,
}

impl Operation {
    const ALL: [Self; 6] = [
        Self::First,
        Self::UntrackedNothing,
        Self::UntrackedTen,
        Self::Nothing,
        Self::Thousand,
        Self::ThousandOfFewer,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::First => "first push",
            Self::UntrackedNothing => "nothing changed, untracked",
            Self::UntrackedTen => "10 rows changed, untracked",
            Self::Nothing => "nothing changed, tracked",
            Self::Thousand => "1,000 rows changed, tracked",
            Self::ThousandOfFewer => "1,000 rows changed, tracked, a tenth of the rows",
        }
    }
}

/// One measurement.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) operation: Operation,
    pub(super) who: &'static str,
    pub(super) sample: Sample,
    /// Requests, and the server's milliseconds for them.
    pub(super) answered: Option<(u64, u64)>,
}

/// Everything that a run has found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) rows: u64,
    /// Bytes of all rows as `COPY` writes them in binary.
    pub(super) table_bytes: u64,
    pub(super) server: String,
    pub(super) measured: Vec<Measured>,
    pub(super) latency: Latency,
    pub(super) sustained: Vec<Sustained>,
    pub(super) writers: Vec<Writers>,
    pub(super) history: Option<History>,
}

/// The name of ours in tables.
pub(super) const OURS: &str = "ours";

impl Findings {
    /// Keeps what ours took, and says so.
    pub(super) fn ours(&mut self, operation: Operation, ran: Ran) {
        let answered = Some((ran.requests, ran.server_ms));
        self.add(operation, OURS, ran.sample, answered);
    }

    /// Keeps what a peer took, and says so.
    pub(super) fn peer(&mut self, operation: Operation, who: &'static str, sample: Sample) {
        self.add(operation, who, sample, None);
    }

    fn add(
        &mut self,
        operation: Operation,
        who: &'static str,
        sample: Sample,
        answered: Option<(u64, u64)>,
    ) {
        println!(
            "  {:<48} {who:<24} {:>9} s",
            operation.name(),
            seconds(sample.wall)
        );
        self.measured.push(Measured {
            operation,
            who,
            sample,
            answered,
        });
    }

    fn of(&self, operation: Operation, who: &str) -> impl Iterator<Item = &Measured> + Clone {
        self.measured
            .iter()
            .filter(move |measured| measured.operation == operation && measured.who == who)
    }

    fn wall(&self, operation: Operation, who: &str) -> Option<Duration> {
        median(self.of(operation, who).map(|measured| measured.sample.wall))
    }

    /// One median over another.
    fn ratio(&self, ours: Operation, to: Operation, who: &str) -> Option<f64> {
        let (ours, to) = (self.wall(ours, OURS)?, self.wall(to, who)?);
        Some(ours.as_secs_f64() / to.as_secs_f64())
    }

    fn who(&self, operation: Operation) -> Vec<&'static str> {
        let mut names = Vec::new();
        for measured in &self.measured {
            if measured.operation == operation && !names.contains(&measured.who) {
                names.push(measured.who);
            }
        }
        names
    }

    /// As Markdown.
    pub(super) fn text(&self, how: &str) -> String {
        let mut lines = vec![
            format!(
                "Measured on {} by `cargo xtask bench rows{how}`.",
                said("date", &["-u", "+%F"])
            ),
            format!("Machine: {}.", machine()),
            format!("Both databases: {}.", self.server),
            format!(
                "Rows: {} of {} bytes each as `COPY` writes them in binary.",
                grouped(self.rows),
                self.table_bytes / self.rows.max(1)
            ),
        ];
        let stored = self.measured.iter().filter_map(|one| one.sample.stored);
        if let Some(stored) = median(stored) {
            lines.push(format!(
                "The tenant's store has {} bytes after the first push.",
                grouped(stored)
            ));
        }
        lines.push(String::new());
        self.table(&mut lines);
        lines.push(String::new());
        self.watching(&mut lines);
        lines.push("| operation | bar | measured | |".into());
        lines.push("|---|---|---|---|".into());
        for bar in self.bars() {
            lines.push(bar.line());
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn table(&self, lines: &mut Vec<String>) {
        lines.push("| operation | who | runs | wall s | ours / peer | CPU client s | CPU server s | requests | server ms | bytes sent | bytes received | peak client MiB | peak server MiB |".into());
        lines.push("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|".into());
        for operation in Operation::ALL {
            for who in self.who(operation) {
                lines.push(self.row(operation, who));
            }
        }
    }

    fn row(&self, operation: Operation, who: &str) -> String {
        let all = || self.of(operation, who);
        let middle = |value: fn(&Measured) -> Option<u64>, show: fn(u64) -> String| {
            median(all().filter_map(value)).map_or_else(|| "-".to_owned(), show)
        };
        let time = |value: fn(&Measured) -> Option<Duration>| {
            median(all().filter_map(value)).map_or_else(|| "-".to_owned(), seconds)
        };
        let ratio = (who != OURS)
            .then(|| self.ratio(operation, operation, who))
            .flatten();
        let cells = [
            operation.name().to_owned(),
            who.to_owned(),
            all().count().to_string(),
            time(|one| Some(one.sample.wall)),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            time(|one| Some(one.sample.client.cpu)),
            time(|one| Some(one.sample.server?.cpu)),
            middle(|one| Some(one.answered?.0), grouped),
            middle(|one| Some(one.answered?.1), grouped),
            middle(|one| Some(one.sample.passed?.sent), grouped),
            middle(|one| Some(one.sample.passed?.received), grouped),
            middle(|one| Some(one.sample.client.peak_bytes), mebibytes),
            middle(|one| Some(one.sample.server?.peak_bytes), mebibytes),
        ];
        format!("| {} |", cells.join(" | "))
    }

    fn watching(&self, lines: &mut Vec<String>) {
        if !self.writers.is_empty() {
            lines.push("| single-row writers | transactions/s | of that without tracking |".into());
            lines.push("|---|---:|---:|".into());
            for clients in [4, 16] {
                for (mode, name) in [
                    (Mode::Untracked, "without tracking"),
                    (Mode::Held, "tracked, a watcher listens but is held"),
                    (Mode::Live, "tracked, watched, applied on this same machine"),
                ] {
                    let rate = self.rate(clients, mode);
                    let share = rate / self.rate(clients, Mode::Untracked);
                    lines.push(format!(
                        "| {clients} clients, {name} | {rate:.0} | {share:.2} |"
                    ));
                }
            }
            lines.push(String::new());
        }
    }

    /// Transactions a second, the median of the runs.
    fn rate(&self, clients: u64, mode: Mode) -> f64 {
        let mut rates: Vec<f64> = self
            .writers
            .iter()
            .filter(|one| one.clients == clients && one.mode == mode)
            .map(|one| one.transactions_per_second)
            .collect();
        rates.sort_by(f64::total_cmp);
        let middle = rates.len().saturating_sub(1) / 2;
        rates.get(middle).copied().unwrap_or(f64::NAN)
    }

    /// The highest peak that any operation had, of the client and of the server.
    fn peaks(&self) -> [u64; 2] {
        let ours = self.measured.iter().filter(|one| one.who == OURS);
        let ends = ours.map(|one| (one.sample.client, one.sample.server.unwrap_or_default()));
        let sustained = self.sustained.iter().map(|one| (one.client, one.server));
        let history = self.history.iter().map(|one| (one.client, one.server));
        let all: Vec<(End, End)> = ends.chain(sustained).chain(history).collect();
        let highest = |end: fn(&(End, End)) -> u64| all.iter().map(end).max().unwrap_or_default();
        [
            highest(|(client, _)| client.peak_bytes),
            highest(|(_, server)| server.peak_bytes),
        ]
    }
}

/// A bar, and what was measured.
struct Bar {
    operation: String,
    allowed: &'static str,
    /// What was measured, and how many times what is allowed: 1 is just enough.
    found: Option<(String, f64)>,
}

impl Bar {
    fn line(&self) -> String {
        let (measured, verdict) = match &self.found {
            None => ("not measured".to_owned(), String::new()),
            Some((text, load)) if *load <= 1.0 => (text.clone(), "holds".to_owned()),
            Some((text, load)) => (text.clone(), format!("misses it by {load:.2} times")),
        };
        format!(
            "| {} | {} | {measured} | {verdict} |",
            self.operation, self.allowed
        )
    }
}

/// The bars of the design.
impl Findings {
    fn bars(&self) -> Vec<Bar> {
        let mut bars = self.pushes();
        bars.extend(self.changes());
        bars.push(self.growth());
        let [client, server] = self.peaks();
        bars.push(Bar {
            operation: "peak memory, either end, over all of the above".into(),
            allowed: "under 64 MiB",
            found: Some((
                format!("client {} MiB, server {} MiB", client >> 20, server >> 20),
                as_f64(client.max(server)) / as_f64(64 << 20),
            )),
        });
        bars
    }

    fn pushes(&self) -> Vec<Bar> {
        use Operation::{
            First, Nothing, Thousand, ThousandOfFewer, UntrackedNothing, UntrackedTen,
        };
        let ratio = |ours, to, who, most: f64| {
            let ratio = self.ratio(ours, to, who)?;
            Some((format!("{ratio:.2}"), ratio / most))
        };
        let few = self.ratio(Thousand, First, OURS).map(|share| {
            let few = self
                .ratio(Thousand, ThousandOfFewer, OURS)
                .unwrap_or(f64::NAN);
            let text = format!("{:.2} %, {few:.2} times", share * 100.0);
            (text, (share / 0.02).max(few / 1.3))
        });
        let nothing = median(self.of(Nothing, OURS).filter_map(|one| one.answered));
        let nothing = nothing.map(|(requests, time)| {
            let text = format!("{requests} requests, {time} ms");
            (text, as_f64(requests).max(as_f64(time) / 5.0))
        });
        let bytes = |operation| {
            median(self.of(operation, OURS).filter_map(|one| {
                let passed = one.sample.passed?;
                Some(passed.total())
            }))
        };
        let ten = ratio(UntrackedTen, UntrackedNothing, OURS, 1.2).map(|(text, load)| {
            let bytes = bytes(UntrackedTen).map_or_else(String::new, grouped);
            (format!("{text}, {bytes} bytes"), load)
        });
        let bar = |operation: &str, allowed, found| Bar {
            operation: operation.to_owned(),
            allowed,
            found,
        };
        vec![
            bar(
                "first push, durable, TLS",
                "at most 1.5 times `COPY` piped and upserted",
                ratio(First, First, super::COPY, 1.5),
            ),
            bar(
                "1,000 rows changed, tracked",
                "under 2 % of the first push; at most 1.3 times as long as with a tenth of the rows",
                few,
            ),
            bar(
                "nothing changed, tracked",
                "one request; under 5 ms of server time",
                nothing,
            ),
            bar(
                "nothing changed, untracked",
                "within 1.5 times of `COPY (SELECT … ORDER BY key)` in binary, both sides counted",
                ratio(UntrackedNothing, UntrackedNothing, super::READ, 1.5),
            ),
            bar(
                "10 rows changed, untracked",
                "within 1.2 times of the untracked no-op; bytes follow the change",
                ten,
            ),
        ]
    }

    fn changes(&self) -> Vec<Bar> {
        let rates = self.sustained.iter().map(|one| {
            let rate = as_f64(one.rows) / one.arrived.as_secs_f64();
            let written = as_f64(one.rows) / one.written.as_secs_f64();
            (rate, written)
        });
        let mut rates: Vec<(f64, f64)> = rates.collect();
        rates.sort_by(|one, other| one.0.total_cmp(&other.0));
        let sustained = rates.get(rates.len().saturating_sub(1) / 2);
        let sustained = sustained.map(|(rate, written)| {
            let text = format!("{rate:.0} rows/s; they were written at {written:.0}");
            (text, 5000.0 / rate)
        });
        let one = [("up", &self.latency.up), ("down", &self.latency.down)].map(|(way, times)| {
            let found = middle_and_late(times).map(|(middle, late)| {
                let text = format!(
                    "median {:.1} ms, 99th percentile {:.1} ms of {}",
                    middle * 1000.0,
                    late * 1000.0,
                    times.len()
                );
                (text, (middle / 0.05).max(late / 0.25))
            });
            Bar {
                operation: format!("one change, end to end, watching, {way}"),
                allowed: "median under 50 ms, 99th percentile under 250 ms",
                found,
            }
        });
        let mut bars = vec![Bar {
            operation: "sustained small changes through the watcher, durable, both databases"
                .into(),
            allowed: "at least 5,000 rows/s",
            found: sustained,
        }];
        bars.extend(one);
        bars.extend(
            [
                (Mode::Held, "the watcher held"),
                (Mode::Live, "both ends and both databases on these cores"),
            ]
            .map(|(mode, how)| Bar {
                operation: format!("cost of tracking to 4 and 16 single-row writers, {how}"),
                allowed: "at most 20 % of their throughput",
                found: self.cost(mode),
            }),
        );
        bars
    }

    /// What share of their throughput single-row writers lose.
    fn cost(&self, mode: Mode) -> Option<(String, f64)> {
        let cost = |clients| 1.0 - self.rate(clients, mode) / self.rate(clients, Mode::Untracked);
        let costs: [f64; 2] = [4, 16].map(cost);
        let shown = costs.map(|cost| format!("{:.0} %", cost * 100.0));
        (!self.writers.is_empty()).then(|| (shown.join(" and "), costs[0].max(costs[1]) / 0.2))
    }

    fn growth(&self) -> Bar {
        let found = self.history.map(|history| {
            let changed = as_f64(self.table_bytes) / as_f64(self.rows.max(1))
                * as_f64(history.snapshots * CHANGED);
            let times = as_f64(history.grown_bytes) / changed;
            let text = format!(
                "{times:.2} times: {} bytes for {} snapshots, {} s a push",
                grouped(history.grown_bytes),
                grouped(history.snapshots),
                seconds(history.wall / u32::try_from(history.snapshots.max(1)).unwrap_or(1))
            );
            (text, times / 10.0)
        });
        Bar {
            operation: "history: snapshots of 100 changed rows each".into(),
            allowed: "the store grows by less than 10 times the changed rows' bytes",
            found,
        }
    }
}

/// The median and the 99th percentile, in seconds.
fn middle_and_late(times: &[Duration]) -> Option<(f64, f64)> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let late = (times.len() * 99).div_ceil(100).checked_sub(1)?;
    let middle = median(times.iter().copied())?;
    Some((middle.as_secs_f64(), times.get(late)?.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_of_a_hundred_is_the_last_but_one() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_secs).collect();
        assert_eq!(middle_and_late(&times), Some((50.0, 99.0)));
        assert_eq!(middle_and_late(&[]), None);
    }

    #[test]
    fn what_misses_a_bar_says_by_how_much() {
        let bar = |load| Bar {
            operation: "x".into(),
            allowed: "y",
            found: Some(("z".into(), load)),
        };
        assert_eq!(bar(1.0).line(), "| x | y | z | holds |");
        assert_eq!(bar(1.5).line(), "| x | y | z | misses it by 1.50 times |");
    }
}
