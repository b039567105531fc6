"""The proof of an export: it is loaded again, and answers as the model does on the training side."""
