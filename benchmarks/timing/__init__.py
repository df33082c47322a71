"""How fast we are, beside a plain loop and beside other packages."""
