"""What a learned ranker is made of: features, a small network, its training, its file."""
