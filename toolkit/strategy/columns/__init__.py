"""Columns of the columnar driver: kernels, shared memory, many parameter sets at once."""
