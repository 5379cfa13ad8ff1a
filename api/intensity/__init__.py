"""What a unit takes, the best runs and circularity, from the database to answers."""
