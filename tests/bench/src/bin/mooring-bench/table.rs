//! Medians of runs, and the table they are shown in.

use std::{fmt::Write as _, time::Duration};

use crate::peers::Peer;

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
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

impl Table {
    /// Adds what a run of a peer yielded.
    pub fn add(&mut self, peer: Peer, measured: impl IntoIterator<Item = Measured>) {
        for Measured { figure, better, value } in measured {
            let row = match self.rows.iter().position(|row| row.figure == figure) {
                Some(index) => &mut self.rows[index],
                None => self.rows.push_mut(Row { figure, better, values: Vec::new() }),
            };
            match row.values.iter_mut().find(|(known, _)| *known == peer) {
                Some((_, values)) => values.push(value),
                None => row.values.push((peer, vec![value])),
            }
        }
    }

    /// The table as Markdown. A ratio is ours to the best peer's, the floor not being one.
    pub fn markdown(&self, peers: &[Peer]) -> String {
        let ours: Vec<Peer> = peers.iter().copied().filter(|peer| peer.is_ours()).collect();
        let mut text = String::from("| figure |");
        let columns = peers.iter().map(|peer| peer.name().to_owned());
        let ratios = ours.iter().map(|peer| format!("{} : best peer", peer.name()));
        columns.chain(ratios).for_each(|name| text.extend([" ", &name, " |"]));
        text.push_str("\n|---|");
        text.push_str(&"--:|".repeat(peers.len() + ours.len()));
        text.push('\n');
        for row in &self.rows {
            text.extend(["| ", &row.figure, " |"]);
            let ratios = ours
                .iter()
                .map(|peer| row.ratio(*peer).map_or_else(String::new, |ratio| format!("{ratio:.2}")));
            let values = peers.iter().map(|peer| row.value(*peer).map_or_else(String::new, number));
            values.chain(ratios).for_each(|cell| text.extend([" ", &cell, " |"]));
            text.push('\n');
        }
        text
    }
}

impl Row {
    fn value(&self, peer: Peer) -> Option<f64> {
        self.values.iter().find(|(known, _)| *known == peer).map(|(_, values)| median(values.clone()))
    }

    fn ratio(&self, ours: Peer) -> Option<f64> {
        let others = self.values.iter().filter(|(peer, _)| !peer.is_ours() && *peer != Peer::Floor);
        let others = others.map(|(_, values)| median(values.clone()));
        let best = match self.better {
            Better::Lower => others.min_by(f64::total_cmp)?,
            Better::Higher => others.max_by(f64::total_cmp)?,
        };
        (best != 0.0).then_some(self.value(ours)? / best)
    }
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

    #[test]
    fn a_ratio_is_to_the_best_peer_and_of_medians() {
        let mut table = Table::default();
        for value in [9.0, 3.0, 2.0] {
            table.add(Peer::Raw, [Measured::lower("CPU", value)]);
        }
        for (peer, value) in [(Peer::Floor, 1.0), (Peer::Nchan, 6.0), (Peer::Ws, 12_345.6)] {
            table.add(peer, [Measured::lower("CPU", value)]);
        }
        let expected = "| figure | raw | floor | nchan | ws | raw : best peer |\n|---|--:|--:|--:|--:|--:|\n\
                        | CPU | 3.00 | 1.00 | 6.00 | 12,346 | 0.50 |\n";
        assert_eq!(table.markdown(&[Peer::Raw, Peer::Floor, Peer::Nchan, Peer::Ws]), expected);
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
