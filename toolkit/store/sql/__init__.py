"""The database itself: opening it, its tables, types, transactions and compiled statements."""
