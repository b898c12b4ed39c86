"""Serving requests for many models."""
