"""Agents and their right to speak: who may enrol, with which certificate, and what they are told to run."""
