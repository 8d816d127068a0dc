"""The page of `socketkit watch --web`: an ASGI application without a framework, and what it shows."""
