"""Measuring how close a reconstruction is to its source."""
