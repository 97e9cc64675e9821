"""The corpus behind a base model: attributes beside documents, rules over them, and files of tokens."""
