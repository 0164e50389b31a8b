"""Every write of this app that is not the metering of somebody's own transaction."""
