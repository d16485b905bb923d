"""The rules of a turn, from an accepted message to a delivered answer, and the ports they need. No AWS, no HTTP."""
