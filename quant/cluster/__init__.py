"""Work on several processes and machines, by executors of `concurrent.futures`."""
