"""The paper's tables from this code, next to the paper's figures."""
