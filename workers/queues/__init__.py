"""Carrying messages by queues of a Dramatiq broker."""
