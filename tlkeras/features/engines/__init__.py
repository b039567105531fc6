"""Engines: what runs the frozen part of a model."""
