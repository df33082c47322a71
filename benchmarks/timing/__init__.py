"""These scripts tell how fast this suite is, beside a plain loop and beside other packages."""
