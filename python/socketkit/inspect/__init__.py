"""What happens on sockets and on the way between them: a sans-I/O core and a thin driver each."""
