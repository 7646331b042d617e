"""The tour that ``memcube demo`` gives: a conversation goes in, questions are answered."""
