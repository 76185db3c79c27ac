"""The parts of the chaos lane on real message brokers."""
