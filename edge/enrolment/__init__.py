"""How the agent gets its certificate, and the next one. Libraries of cryptography are imported here alone."""
