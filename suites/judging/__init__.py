"""How answers are judged: measured against the reference, held to their claims, recorded and told."""
