"""How things look: colours, words and numbers for people, and the small pieces that the views share."""
