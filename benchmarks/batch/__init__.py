"""How fast the batch job is: against the sum of its steps, and against the loop that a user writes first."""
