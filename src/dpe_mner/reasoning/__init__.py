"""Entity reasoning (2.3.2): the network, its heads, decoding."""
