"""Judge a generator: what is looked at, by which protocol, against which floor."""
