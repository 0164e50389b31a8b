"""The sample contacts, and the tenant that shows them to a newcomer. For local use alone."""
