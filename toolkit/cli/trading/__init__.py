"""Commands about versions and runs."""
