"""The read side: frozen rows, each query limited to what its principal may see."""
