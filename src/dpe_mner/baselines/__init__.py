"""Text baselines, trained and scored as our own model is: the paper's BiLSTM-CRF, BERT-CRF, BERT-Span, and BERT-Tag."""
