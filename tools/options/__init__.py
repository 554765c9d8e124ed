"""Options of the commands: flags, config files, checks."""
