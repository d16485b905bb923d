"""The agent's container: what runs beside OpenClaw, feeds it and looks after it."""
