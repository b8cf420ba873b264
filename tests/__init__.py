"""The tests, as one package: a library on the machine may bring a package of the same name."""
