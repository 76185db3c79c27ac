"""What a strategy is written with: expressions, sections, parameters, and the class that joins them."""
