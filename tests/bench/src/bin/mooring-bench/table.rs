//! Medians of runs with their spread, and the tables they are shown in.

use std::{fmt::Write as _, time::Duration};

use crate::peers::Peer;

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
    /// It says what was done, and nobody is better in it.
    Neither,
}

/// One measured value of a peer, before medians are taken.
#[derive(Clone, Debug)]
pub struct Measured {
    pub figure: String,
    pub better: Better,
    pub value: f64,
}

impl Measured {
    pub fn lower(figure: impl Into<String>, value: f64) -> Self {
        Self { figure: figure.into(), better: Better::Lower, value }
    }

    pub fn higher(figure: impl Into<String>, value: f64) -> Self {
        Self { figure: figure.into(), better: Better::Higher, value }
    }

    pub fn fact(figure: impl Into<String>, value: f64) -> Self {
        Self { figure: figure.into(), better: Better::Neither, value }
    }
}

/// Figures by peer.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    figure: String,
    better: Better,
    values: Vec<(Peer, Vec<f64>)>,
}

/// What several runs of the same yielded.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
    /// Of one run it is not known how much the next would differ.
    runs: usize,
}

impl Table {
    /// Adds what a run of a peer yielded. A row that others did not have comes where it has it, not last.
    pub fn add(&mut self, peer: Peer, measured: impl IntoIterator<Item = Measured>) {
        let mut next = 0;
        for Measured { figure, better, value } in measured {
            let index = self.rows.iter().position(|row| row.figure == figure).unwrap_or_else(|| {
                self.rows.insert(next, Row { figure, better, values: Vec::new() });
                next
            });
            next = index + 1;
            let row = &mut self.rows[index];
            match row.values.iter_mut().find(|(known, _)| *known == peer) {
                Some((_, values)) => values.push(value),
                None => row.values.push((peer, vec![value])),
            }
        }
    }

    /// The table as Markdown, with a column for each of the peers that have values. A ratio is ours to the best peer's, which it names, the
    /// floors not being peers; and Centrifugo's, whose protocol is the same, beside it.
    pub fn markdown(&self, peers: &[Peer]) -> String {
        let measured = |peer: &Peer| self.rows.iter().any(|row| row.spread(*peer).is_some());
        let columns: Vec<Peer> = peers.iter().copied().filter(measured).collect();
        let others: Vec<Peer> =
            columns.iter().copied().filter(|peer| !peer.is_ours() && !peer.is_floor()).collect();
        let ours = columns.iter().copied().filter(|peer| peer.is_ours() && !others.is_empty());
        let mut ratios: Vec<(String, Peer, Vec<Peer>)> =
            ours.map(|peer| (format!("{} : best peer", peer.name()), peer, others.clone())).collect();
        if [Peer::Centrifuge, Peer::Centrifugo].iter().all(|peer| columns.contains(peer)) {
            let name = "centrifuge : centrifugo".to_owned();
            ratios.push((name, Peer::Centrifuge, vec![Peer::Centrifugo]));
        }
        let names = columns.iter().map(|peer| peer.name()).chain(ratios.iter().map(|(name, ..)| &**name));
        let mut text = line("figure", names);
        text += &format!("|---|{}\n", "--:|".repeat(columns.len() + ratios.len()));
        for row in &self.rows {
            let values = columns.iter().map(|peer| row.spread(*peer).map_or_else(String::new, Spread::cell));
            let ratios = ratios.iter().map(|(_, ours, others)| row.ratio(*ours, others).unwrap_or_default());
            text += &line(&row.figure, values.chain(ratios));
        }
        text
    }
}

impl Row {
    fn spread(&self, peer: Peer) -> Option<Spread> {
        let (_, values) = self.values.iter().find(|(known, _)| *known == peer)?;
        Spread::of(values)
    }

    /// Ours to the best of the others, that one's name, and whether there is a difference at all.
    fn ratio(&self, ours: Peer, others: &[Peer]) -> Option<String> {
        let spreads = others.iter().filter_map(|peer| Some((*peer, self.spread(*peer)?)));
        let by_median = |(_, a): &(Peer, Spread), (_, b): &(Peer, Spread)| a.median.total_cmp(&b.median);
        let (best, theirs) = match self.better {
            Better::Lower => spreads.min_by(by_median)?,
            Better::Higher => spreads.max_by(by_median)?,
            Better::Neither => return None,
        };
        let ours = self.spread(ours)?;
        let verdict = match (ours.runs.min(theirs.runs), ours.overlaps(theirs)) {
            (1, _) => ", one run",
            (_, true) => ", level",
            (_, false) => "",
        };
        (theirs.median != 0.0).then(|| format!("{:.2} {}{verdict}", ours.median / theirs.median, best.name()))
    }
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            least: values.iter().copied().min_by(f64::total_cmp)?,
            median: median(values.to_vec()),
            most: values.iter().copied().max_by(f64::total_cmp)?,
            runs: values.len(),
        })
    }

    /// Whether a value of the one could have been a value of the other.
    fn overlaps(self, other: Self) -> bool {
        self.least <= other.most && other.least <= self.most
    }

    fn cell(self) -> String {
        let median = number(self.median);
        if self.runs == 1 {
            return median;
        }
        format!("{median} ({}..{})", number(self.least), number(self.most))
    }
}

fn line(first: &str, cells: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut text = format!("| {first} |");
    cells.for_each(|cell| text.extend([" ", cell.as_ref(), " |"]));
    text.push('\n');
    text
}

/// The middle value, or the mean of the two middle ones; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => 0.0,
        values if values.len().is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
        values => values[middle],
    }
}

/// The value below which the given share of sorted durations lies, in milliseconds; 0 of none.
pub fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}

/// Three significant digits or more, with thousands apart.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let plain = format!("{value:.decimals$}");
    let (whole, rest) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut text = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !rest.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, ".{rest}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(values: &[(Peer, &[f64])]) -> Table {
        let mut table = Table::default();
        for (peer, values) in values {
            table.add(*peer, values.iter().map(|value| Measured::lower("CPU", *value)));
        }
        table
    }

    /// The last line, from the figure's name on.
    fn row(values: &[(Peer, &[f64])]) -> String {
        let peers: Vec<Peer> = values.iter().map(|(peer, _)| *peer).collect();
        table(values).markdown(&peers).lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_ratio_is_to_the_best_peer_of_medians_and_names_it() {
        let table = table(&[
            (Peer::Raw, &[9.0, 3.0, 2.0]),
            (Peer::Floor, &[1.0]),
            (Peer::CoalescingFloor, &[1.5]),
            (Peer::Nchan, &[10.0, 11.0]),
            (Peer::Ws, &[12_345.6, 20_000.0]),
        ]);
        let peers = [Peer::Raw, Peer::Floor, Peer::CoalescingFloor, Peer::Nchan, Peer::Ws, Peer::Nats];
        let expected = "| figure | raw | floor | coalescing-floor | nchan | ws | raw : best peer |\n|---|--:|--:|--:|--:|--:|--:|\n\
                        | CPU | 3.00 (2.00..9.00) | 1.00 | 1.50 | 10.5 (10.0..11.0) | 16,173 (12,346..20,000) | 0.29 nchan |\n";
        assert_eq!(table.markdown(&peers), expected);
    }

    #[test]
    fn what_a_run_of_the_other_could_have_been_is_level() {
        let nchan: &[f64] = &[10.0, 11.0, 12.0];
        for (raw, ratio) in [
            (&[8.0, 9.0, 9.9][..], "0.82 nchan"),
            (&[8.0, 9.0, 10.0], "0.82 nchan, level"),
            (&[11.9, 13.0, 14.0], "1.18 nchan, level"),
            (&[12.1, 13.0, 14.0], "1.18 nchan"),
        ] {
            let row = row(&[(Peer::Raw, raw), (Peer::Nchan, nchan)]);
            assert!(row.ends_with(&format!("| {ratio} |")), "{row}");
        }
    }

    #[test]
    fn one_run_claims_no_difference() {
        let row = row(&[(Peer::Raw, &[1.0]), (Peer::Nchan, &[2.0, 2.0])]);
        assert!(row.ends_with("| 0.50 nchan, one run |"), "{row}");
    }

    #[test]
    fn the_protocol_has_a_ratio_to_its_own_server_beside_the_best_peers() {
        let row =
            row(&[(Peer::Centrifuge, &[1.0, 1.0]), (Peer::Centrifugo, &[4.0, 4.0]), (Peer::Ws, &[2.0, 2.0])]);
        assert!(row.ends_with("| 0.50 ws | 0.25 centrifugo |"), "{row}");
    }

    #[test]
    fn a_fact_has_no_ratio() {
        let mut table = Table::default();
        for peer in [Peer::Raw, Peer::Ws] {
            table.add(peer, [Measured::fact("pings", 1.0)]);
        }
        assert!(table.markdown(&[Peer::Raw, Peer::Ws]).ends_with("| pings | 1.00 | 1.00 |  |\n"));
    }

    #[test]
    fn a_row_that_the_first_server_lacks_is_in_its_place() {
        let mut table = Table::default();
        for (peer, figures) in [(Peer::Ws, &["a", "d"][..]), (Peer::Raw, &["a", "b", "c", "d"])] {
            table.add(peer, figures.iter().map(|figure| Measured::lower(*figure, 1.0)));
        }
        let figures: Vec<&str> = table.rows.iter().map(|row| row.figure.as_str()).collect();
        assert_eq!(figures, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_percentile_is_the_value_of_its_rank() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(
            (percentile(&sorted, 0.5), percentile(&sorted, 0.99), percentile(&[], 0.5)),
            (50.0, 99.0, 0.0)
        );
    }
}
