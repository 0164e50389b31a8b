"""Vendors that behave like the real ones, on loopback: for the demo, the tests and the tenants' test mode.

A second reading of the vendors' documentation: nothing in here imports the connectors, nor they anything of this.
"""
