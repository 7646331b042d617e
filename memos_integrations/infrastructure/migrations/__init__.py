"""Schema migrations, run by alembic when a store of an older release is opened."""
