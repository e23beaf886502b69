"""How good a reconstruction is, as arithmetic on arrays: knows no files, no models and nobody who measures."""
