"""Code of the user inside a strategy: pandas functions and step functions, shipped as hashed source."""
