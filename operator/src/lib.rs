//! The operator's shell: watch, observe, execute, report.
