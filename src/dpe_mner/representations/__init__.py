"""The six representations: word pieces, batches, text encoder."""
