"""Training of the zoo's networks: `python -m train --help`."""
