"""Services built on the verbs, a package for each use. They never import each other."""
