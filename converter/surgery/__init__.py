"""Changes of a model that its user asks for, as functions on a `Graph`; `bitlite.surgery` names them all."""
