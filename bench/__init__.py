"""What is measured of a whole release: each engine, each file system, growth; and the account that is published."""
