"""The database: models, unit of work, repositories and the read side."""
