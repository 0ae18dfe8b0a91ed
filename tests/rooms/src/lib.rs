//! Tests that hold the house together; see `tests/`.
