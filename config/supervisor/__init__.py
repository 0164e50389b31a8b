"""Runs every process of a local Weir: starts them in order, starts again what dies, stops them all."""
