"""The agent on factory hardware: drivers → batch → outbox → publisher. One module a stage."""
