"""PostTraining: the float graph as an integer one, corrected and judged."""
