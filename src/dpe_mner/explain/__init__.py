"""The data of a reasoning trace, for those who want to see how an answer came about."""
