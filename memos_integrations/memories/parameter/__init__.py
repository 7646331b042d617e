"""Parameter memory: memories distilled into weights of a model, and taken out again."""
