"""Answers as tables that go out, and plain tables that come in."""
