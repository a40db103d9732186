"""What people see of a run: the ranking, and the view while it runs; on the terminal and for other programs."""
