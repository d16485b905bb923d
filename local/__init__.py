"""The cloud on this machine: everything that runs and tests the project without AWS. Never deployed."""
