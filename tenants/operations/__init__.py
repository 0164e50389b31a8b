"""Every write of this app that a person, an integrator, staff or a command asks for."""
