"""Pictures of the provenance graph."""
