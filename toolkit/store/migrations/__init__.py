"""The schema's history, run by `toolkit.store.sql.engine.open_database`; an empty database migrated equals the models."""
