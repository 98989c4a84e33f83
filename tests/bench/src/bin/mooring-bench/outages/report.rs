//! The table of failures, and what is wrong in it.

use super::{
    OutagesArgs,
    cell::{Cell, Fleet, seconds},
    fault::Fault,
    stand::GATEWAYS,
};

const HEAD: &str = "\
| failure | clients | closed | in 1 s | lost | repeated | told | counted | missed of it | resubscribed | in 1 s | accepted | refused | live after (s) | present after (s) |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

pub fn markdown(args: &OutagesArgs, cells: &[(Fault, Fleet, Cell)]) -> String {
    let OutagesArgs { clients, fault_seconds, stopped_seconds, .. } = args;
    let rows: String = cells.iter().map(|(fault, fleet, cell)| row(*fault, *fleet, cell)).collect();
    let wrong = cells.iter().filter_map(|(fault, fleet, cell)| {
        let faults = cell.faults();
        (!faults.is_empty())
            .then(|| format!("- **Not as it has to be**: {fault}, {fleet}: {}\n", faults.join(", ")))
    });
    let wrong: String = wrong.collect();
    let end = if wrong.is_empty() { String::new() } else { format!("\n{wrong}") };
    format!(
        "{clients} clients on {GATEWAYS} gateways. A failure lasts {fault_seconds} s, but Redis is stopped for {stopped_seconds} s.\n\n\
         {HEAD}{rows}{end}"
    )
}

fn row(fault: Fault, fleet: Fleet, cell: &Cell) -> String {
    let refused = match cell.unanswered {
        0 => cell.refused.to_string(),
        unanswered => format!("{} and {unanswered} unanswered", cell.refused),
    };
    let columns = [
        fault.to_string(),
        fleet.to_string(),
        cell.closed.to_string(),
        cell.closed_in_a_second.to_string(),
        cell.lost.to_string(),
        (cell.repeated + cell.out_of_order).to_string(),
        cell.told.to_string(),
        cell.counted.to_string(),
        cell.missed.to_string(),
        cell.resubscribed.to_string(),
        cell.resubscribed_in_a_second.to_string(),
        cell.accepted.to_string(),
        refused,
        seconds(cell.healed),
        // Only clients of the centrifuge protocol are.
        if fleet == Fleet::Raw { String::new() } else { seconds(cell.present) },
    ];
    format!("| {} |\n", columns.join(" | "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn args() -> OutagesArgs {
        OutagesArgs {
            gateway: "gateway".into(),
            state: "state".into(),
            faults: Vec::new(),
            fleets: Vec::new(),
            clients: 400,
            fault_seconds: 10.0,
            stopped_seconds: 60.0,
        }
    }

    #[test]
    fn a_row_has_a_value_in_each_column() {
        let present = Some(Duration::from_secs(2));
        let cell = Cell {
            healed: Some(Duration::from_millis(1_240)),
            present,
            refused: 7,
            accepted: 9,
            ..Cell::default()
        };
        let row = row(Fault::Slow, Fleet::Unkept, &cell);
        assert_eq!(
            row,
            "| slow by 500 ms | mixed, no history | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 9 | 7 | 1.2 | 2.0 |\n"
        );
        assert!(HEAD.lines().all(|line| line.matches('|').count() == row.matches('|').count()));
    }

    #[test]
    fn what_is_not_as_it_has_to_be_is_said_below_the_table() {
        let healed = Some(Duration::ZERO);
        let good = Cell {
            healed,
            present: healed,
            told: 3,
            refused: 5,
            missed: 1,
            counted: 1,
            resubscribed: 3,
            ..Cell::default()
        };
        let unfilled = Cell { is_kept: true, ..good.clone() };
        let bad = Cell { closed: 2, lost: 1, repeated: 4, out_of_order: 5, unanswered: 6, ..Cell::default() };
        let cells = [
            (Fault::Emptied, Fleet::Raw, good),
            (Fault::CutOff, Fleet::Mixed, unfilled),
            (Fault::Killed, Fleet::Mixed, bad),
        ];
        let text = markdown(&args(), &cells);
        let (_, below) = text.split_once("never | never |\n").unwrap();
        assert_eq!(
            below,
            "\n- **Not as it has to be**: cut off from one gateway, mixed: 3 told of a loss, 1 missed\n\
             - **Not as it has to be**: busy in a script, and killed in it, mixed: 2 closed, 1 lost, 4 repeated, 5 out of order, \
             6 publishes not answered, not live again, not all present again\n"
        );
    }
}
