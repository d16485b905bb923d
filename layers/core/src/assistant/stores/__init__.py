"""Adapters to AWS: the two tables, the state machine's executions, the secrets."""
