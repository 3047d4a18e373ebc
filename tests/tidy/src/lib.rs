//! Checks of the project itself; see `tests/`.
