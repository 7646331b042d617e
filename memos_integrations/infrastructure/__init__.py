"""Where memory lives and who may touch it."""
