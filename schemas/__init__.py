"""What crosses a boundary: wire messages, topics, site model, resources and units. Imports nothing of ours."""
