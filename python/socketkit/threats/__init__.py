"""The five threats to network sockets, and programs that phone home: a module each.

Each says what prevents the threat by default, pointing at the code that does, and finds it on a live machine. A finder
is given a `View` and yields `Finding`s: it does no I/O of its own.
"""
