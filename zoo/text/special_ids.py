"""The ids that every tokenizer has for what is no text, which models know too."""

PAD_ID, UNKNOWN_ID, START_ID, END_ID = 0, 1, 2, 3
