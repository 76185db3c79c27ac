"""What execution remembers: the records, the store that keeps them and the bookkeeping from deals to trades."""
