"""Other tools' files to posts and back: a file a format, a registry of all."""
