//! The referee is worth what it finds.

use crate::faults::FAULTS;
use crate::history::History;
use crate::play::{honest, judge};

const PAGE: &str = include_str!("../../../../docs/simulator.md");

#[test]
fn each_planted_fault_is_found_by_the_invariant_that_it_breaks() {
    let mut missed = Vec::new();
    for fault in FAULTS {
        let history: History = serde_json::from_value((fault.history)()).unwrap();
        if let Err(violation) = judge(&history, honest()) {
            missed.push(format!("{}: without it, {violation}", fault.name));
        }
        match judge(&history, (fault.plant)()) {
            Err(violation) if violation.invariant.starts_with(fault.found_by) => {}
            Err(violation) => missed.push(format!("{}: {violation}", fault.name)),
            Ok(_) => missed.push(format!("{}: not found", fault.name)),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn the_page_lists_each_planted_fault() {
    let missing: Vec<_> =
        FAULTS.iter().map(|fault| fault.name).filter(|name| !PAGE.contains(&format!("| {name} |"))).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
