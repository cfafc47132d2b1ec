"""The paper's text baselines, trained and scored as our own model is: BiLSTM-CRF, BERT-CRF, BERT-Span."""
