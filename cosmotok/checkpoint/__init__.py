"""Reading and writing weights: our own safetensors, and the key names of the published code."""
