"""Language models behind an OpenAI-compatible endpoint, asked for the entities of each post."""
