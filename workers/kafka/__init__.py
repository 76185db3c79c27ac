"""Carrying messages by topics of Kafka, around the consumer."""
