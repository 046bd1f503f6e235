//! Seeded simulator that drives the engine over many simulated shards.
