"""Strategies as data: expression graph, step functions, the columnar and the incremental driver."""
