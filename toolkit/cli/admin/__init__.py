"""Commands about accounts, people and limits."""
