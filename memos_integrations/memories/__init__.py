"""The three types of memory: plaintext, activation, parameter."""
