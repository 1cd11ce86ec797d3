"""Files of texts: their packing and encoding, the rows in them, and the columns that are meant."""
