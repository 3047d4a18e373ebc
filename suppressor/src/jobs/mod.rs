//! What runs beside the stage: each job reads the store and appends events; none writes state.
