"""Work on several processes and machines, as futures of `concurrent.futures`."""
