"""Commands that prepare, serve and look after an installation."""
