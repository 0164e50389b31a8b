"""Everything that a tenant holds, as one ZIP: every table that belongs to tenants, found by the catalogue, and what
other apps add."""
