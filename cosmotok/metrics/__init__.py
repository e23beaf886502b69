"""How good a reconstruction is, as arithmetic on arrays: it knows of no files and no models."""
