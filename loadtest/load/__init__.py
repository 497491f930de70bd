"""Load as users make it, by locust: who they are, how many come when, and where the server's knee is."""
