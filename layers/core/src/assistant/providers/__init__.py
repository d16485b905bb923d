"""The providers of the chain: two protocols, four vendors, one table of errors."""
