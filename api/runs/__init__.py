"""Runs as programs, people and files tell them: put in, corrected, removed, with all that was said before kept."""
