"""Training a tokenizer: recipe, data, losses, initialisation and the loop."""
