"""Use 5, web: a folder, a file or an ASGI application, served to people by one command."""
