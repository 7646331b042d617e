"""What is done with memory."""
