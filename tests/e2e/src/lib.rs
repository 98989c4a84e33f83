//! Support for the end-to-end tests: namespaces, conditions, the client fleet.
