"""Kafka, the replayable bus: topics, Avro schemas with their registry, the gateway. Needs the extra ``kafka``."""
