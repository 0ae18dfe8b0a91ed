//! Nothing to use: the tests of the chart, its alerts and the Dockerfile live in `tests/`.
