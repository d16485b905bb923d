"""The agent's workspace: scanned, compared, planned as data, kept as snapshots, and restored whole or not at all.

Knows files and rules; S3 and DynamoDB are behind `ports`. `docs/decisions` says why a commit can't lose anything.
"""
