"""Code that goes into folders for Hugging Face: it runs with transformers, without this package."""
