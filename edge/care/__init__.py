"""Care from afar: a signed configuration is checked, tried and kept, refused or taken back. No code comes this way."""
