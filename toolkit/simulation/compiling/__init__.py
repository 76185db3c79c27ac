"""The loop as machine code: generated, compiled, kept on disk."""
