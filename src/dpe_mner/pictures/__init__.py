"""Raw pictures to the four visual representations: opening, providers, and a store on disk."""
