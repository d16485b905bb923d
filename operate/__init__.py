"""The command line for the person who runs an assistant in their own AWS account: `python -m operate`."""
