"""How the host is reached besides the standard routes: one route a module."""
