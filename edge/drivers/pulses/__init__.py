"""S0 pulse inputs: `counting` and `register` are pure, `input` is the line itself, `driver` reads registers."""
