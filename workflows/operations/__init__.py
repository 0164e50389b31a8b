"""Every write of this app that a person, an integrator or a command asks for."""
