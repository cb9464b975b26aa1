"""What users run: generated logits, stored cases, one test file a property, and the tolerance report."""
