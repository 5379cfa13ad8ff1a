"""What drove a change, from the database or a plain table to answers."""
