"""Who calls ``advance``, for which runs, and when."""
