"""What holds for every profile and every route: one plugin a module."""
