"""The verbs of a session, a room for each kind."""
