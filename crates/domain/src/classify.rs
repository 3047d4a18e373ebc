//! Bounce classification. Filled in by its own slice.
