"""The settings of a sweep: frozen, complete, and checked before anything starts."""
