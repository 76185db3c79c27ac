"""What moves the venue: prices, recorded series, its clock."""
