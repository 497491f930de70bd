"""A user's own world: a LeWM of stable-worldmodel's own module and data, taken the whole way to a served world."""
