"""The report of a conversion or a run: what is known of each node, and the page that shows it."""
